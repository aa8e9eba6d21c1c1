// group_section.c: groups that need nothing of each other side by side in one launch.
//
//   kernel 0 over i < N:  …        one parallel loop, whose first N steps are the one group's
//   beside it over i < M: …        and whose next M are the other's
//
// It saves launches, which is what small problems take longest for; large ones have nothing to win, and lose where cores
// get shares of unlike work. So groups of one level (none waits for another) join while a launch costs more than that.
// Those that add up shares at the end go with their like.
#include "passes/group_int.h"
#include <math.h>
#include <stdlib.h>

enum { MOST_TENSORS = 2 * MAX_TENSORS };        // of a launch: arguments
#define UNEVEN 0.05             // of the shorter one's time is lost when two share the cores

typedef struct Section { Node *n; int level; bool adds; int launch; } Section;

static bool adds_up(const Group *u) {
  for (int i = 0; i < u->m.n; i++)
    if (member_is_partial(&u->m.v[i], u->ngrid) || (!u->ngrid && u->m.v[i].q->body->op == OP_REDUCE)) return true;
  return false;
}

// One more than that of any group that must run before. The groups are in order.
static void find_levels(const Grouping *g, int n, Section *s, const int *at) {
  for (int i = 0; i < n; i++)
    for (int k = 0; k < s[i].n->units.n; k++) {
      const Edges *e = &g->after[s[i].n->units.v[k]];
      for (int j = 0; j < e->to.n; j++) {
        Section *to = &s[at[group_find(g, e->to.v[j])]];
        if (to != &s[i] && to->level <= s[i].level) to->level = s[i].level + 1;
      }
    }
}

// A launch that is open for more. ns: of its longest section.
typedef struct Launch { int level, streams; bool adds; double ns; } Launch;

static bool fits(const Grouping *g, const Launch *l, const Section *s) {
  return l->level == s->level && l->adds == s->adds && l->streams + s->n->w.streams <= MOST_TENSORS &&
         UNEVEN * fmin(l->ns, s->n->w.ns) < g->machine->launch_us * 1e3;
}

static int by_launch(const void *a, const void *b) {
  const Section *x = a, *y = b;
  return x->launch != y->launch ? x->launch - y->launch : x->n->u->id - y->n->u->id;
}

// Groups by level and then in their order: every launch stands after those that it waits for.
static int by_level(const void *a, const void *b) {
  const Section *x = a, *y = b;
  return x->level != y->level ? x->level - y->level : x->n->u->id - y->n->u->id;
}

static int make_launches(const Grouping *g, int n, Section *s) {
  Launch *l = arena_array(g->p->scratch, Launch, n + 1);
  int count = 0, first = 0;             // of the level at hand
  for (int i = 0; i < n; i++) {
    if (i && s[i].level != s[i - 1].level) first = count;
    int k = first;
    while (k < count && !fits(g, &l[k], &s[i])) k++;
    if (k == count) l[count++] = (Launch){ .level = s[i].level, .adds = s[i].adds };
    s[i].launch = k;
    l[k].streams += s[i].n->w.streams;
    l[k].ns = fmax(l[k].ns, s[i].n->w.ns);
  }
  return count;
}

int group_sections(Grouping *g) {
  int n = 0, *at = arena_array(g->p->scratch, int, g->n + 1);
  Section *s = arena_array(g->p->scratch, Section, g->n + 1);
  for (int i = 0; i < g->n; i++) {
    if (g->node[i].up != i) continue;
    s[g->node[i].u->id] = (Section){ .n = &g->node[i], .adds = adds_up(g->node[i].u) };
    at[i] = g->node[i].u->id;
    n++;
  }
  find_levels(g, n, s, at);
  qsort(s, (size_t)n, sizeof *s, by_level);
  int launches = make_launches(g, n, s);
  qsort(s, (size_t)n, sizeof *s, by_launch);
  for (int i = 0; i < n; i++) {
    s[i].n->u->id = i;
    s[i].n->u->kernel = s[i].launch;
    g->p->groups.v[i] = s[i].n->u;
  }
  return launches;
}
