// test_region.c: kernels and parallel loops that follow each other run in one region, with barriers where they must be.
#include "built.h"
#include "unit.h"

enum { N = 1000 };

static int count(const char *text, const char *part) {
  int n = 0;
  for (const char *at = strstr(text, part); at; at = strstr(at + 1, part)) n++;
  return n;
}

// How often the text has each of these.
static void must_have(const Make *m, int regions, int shared_out, int barriers, int for_one) {
  const char *text = built_text(m, true);
  ck_assert_msg(count(text, "OMP(omp parallel firstprivate(") == regions && count(text, "OMP(omp for") == shared_out &&
                count(text, "OMP(omp barrier)") == barriers && count(text, "OMP(omp master)") == for_one, "%s", text);
}

static float *counted(void) {
  static float x[N];
  for (int i = 0; i < N; i++) x[i] = (float)(i % 50);
  return x;
}

static void must_run(const Make *m, const float *x, float *y) {
  Fault fault;
  CallStatus s = built_run(m, (View[]){view1((void *)x, N)}, (View[]){view1(y, N)}, &fault);
  ck_assert_msg(s == CALL_OK, "%s", fault.text);
}

typedef struct Line { Make m; Expr *n; Tensor *x, *y; } Line;
static Line make_line(const char *name) {
  Line l = { .m = make_plan(name) };
  l.n = make_dim(&l.m, "N");
  l.x = make_param(&l.m, "x", DT_F32, 1, &l.n);
  l.y = make_result(&l.m, "y", DT_F32, 1, &l.n);
  return l;
}

static Tensor *temp(Line *l, const char *name, int number) {
  Expr *bytes = make_int(&l->m, 8192);
  return make_temp(&l->m, name, DT_F32, 1, &l->n, make_int(&l->m, 8192 * number), bytes);
}

static Expr *backwards(Line *l, Expr *i) { return make_op(&l->m, OP_SUB, make_op(&l->m, OP_SUB, l->n, make_int(&l->m, 1)), i); }

// to[i] = from[i] + by, or from[N - 1 - i] + by, over all cores.
static void add_to(Line *l, Tensor *to, Tensor *from, float by, bool back) {
  Expr *i = make_for(&l->m, "i", l->n, HOW_PAR), *at = back ? backwards(l, i) : i;
  make_store(&l->m, to, &i, make_op(&l->m, OP_ADD, make_read(&l->m, from, &at), make_float(&l->m, by)));
  make_end(&l->m);
}

// A kernel of that loop alone.
static void add_kernel(Line *l, const char *name, Tensor *to, Tensor *from, float by, bool back) {
  make_kernel(&l->m, name);
  add_to(l, to, from, by, back);
}

START_TEST(a_kernel_that_reads_what_another_wrote_waits_for_it) {
  Line l = make_line("two");
  Tensor *h = temp(&l, "h", 0);
  add_kernel(&l, "two_h", h, l.x, 1, false);
  add_kernel(&l, "two_y", l.y, h, 2, true);
  must_have(&l.m, 1, 2, 1, 0);
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int i = 0; i < N; i++) ck_assert(y[i] == x[N - 1 - i] + 3);
  arena_destroy(l.m.a);
} END_TEST

START_TEST(loops_that_need_nothing_of_each_other_do_not_wait) {
  Line l = make_line("beside");
  Tensor *g = temp(&l, "g", 0), *h = temp(&l, "h", 1);
  add_kernel(&l, "beside_g", g, l.x, 1, false);
  add_kernel(&l, "beside_h", h, l.x, 2, false);
  make_kernel(&l.m, "beside_y");
  Expr *i = make_for(&l.m, "i", l.n, HOW_PAR);
  make_store(&l.m, l.y, &i, make_op(&l.m, OP_ADD, make_read(&l.m, g, &i), make_read(&l.m, h, &i)));
  make_end(&l.m);
  must_have(&l.m, 1, 3, 1, 0);         // before the last
  arena_destroy(l.m.a);
} END_TEST

// h lies where g did, whose readers may still run.
START_TEST(a_place_that_two_temporaries_share_is_one) {
  Line l = make_line("places");
  Tensor *g = temp(&l, "g", 0), *h = temp(&l, "h", 0);
  add_kernel(&l, "places_g", g, l.x, 1, false);
  add_kernel(&l, "places_y", l.y, g, 1, true);
  add_kernel(&l, "places_h", h, l.x, 1, false);
  must_have(&l.m, 1, 3, 2, 0);
  arena_destroy(l.m.a);
} END_TEST

// Eight parts of the sum of x, each part's own thread; then y[i] = x[i] + sum.
static void add_parts(Line *l, Tensor *part) {
  Make *m = &l->m;
  Expr *p = make_for(m, "p", make_int(m, 8), HOW_PAR), *s = make_var(m, "s", make_float(m, 0), 1);
  Expr *i = make_for(m, "i", l->n, HOW_SEQ), *mine = make_op(m, OP_EQ, make_op(m, OP_MOD, i, make_int(m, 8)), p);
  make_if(m, mine);
  make_acc(m, RED_SUM, s, make_read(m, l->x, &i));
  make_end(m);
  make_end(m);
  make_store(m, part, &p, s);
  make_end(m);
}

static Expr *sum_of_parts(Line *l, Tensor *part) {
  Make *m = &l->m;
  Expr *sum = make_var(m, "sum", make_float(m, 0), 1), *p = make_for(m, "p", make_int(m, 8), HOW_SEQ);
  make_acc(m, RED_SUM, sum, make_read(m, part, &p));
  make_end(m);
  return sum;
}

START_TEST(each_thread_adds_up_parts_for_itself) {
  Line l = make_line("parts");
  Expr *eight = make_int(&l.m, 8);
  Tensor *part = make_local(&l.m, "part", DT_F32, 1, &eight);
  make_kernel(&l.m, "parts_y");
  make_alloc(&l.m, part);
  add_parts(&l, part);
  Expr *sum = sum_of_parts(&l, part), *i = make_for(&l.m, "i", l.n, HOW_PAR);
  make_store(&l.m, l.y, &i, make_op(&l.m, OP_ADD, make_read(&l.m, l.x, &i), sum));
  make_end(&l.m);
  must_have(&l.m, 1, 2, 1, 0);         // behind the parts
  ck_assert_int_eq(count(built_text(&l.m, true), "  float part[8];\n"), 1);      // one for all threads, before the region
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int i = 0; i < N; i++) ck_assert(y[i] == x[i] + 24500);     // 20 times 0 + … + 49
  arena_destroy(l.m.a);
} END_TEST

START_TEST(one_thread_writes_what_stands_between_loops) {
  Line l = make_line("total");
  Expr *eight = make_int(&l.m, 8), *zero = make_int(&l.m, 0);
  Tensor *part = make_local(&l.m, "part", DT_F32, 1, &eight), *total = temp(&l, "total", 0);
  make_kernel(&l.m, "total_y");
  make_alloc(&l.m, part);
  add_parts(&l, part);
  make_store(&l.m, total, &zero, sum_of_parts(&l, part));
  Expr *i = make_for(&l.m, "i", l.n, HOW_PAR);
  make_store(&l.m, l.y, &i, make_op(&l.m, OP_ADD, make_read(&l.m, l.x, &i), make_read(&l.m, total, &zero)));
  make_end(&l.m);
  must_have(&l.m, 1, 2, 2, 1);         // behind the parts, and behind the total
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int i = 0; i < N; i++) ck_assert(y[i] == x[i] + 24500);
  arena_destroy(l.m.a);
} END_TEST

// h and y take turns: y from h backwards, h from y.
START_TEST(steps_of_a_loop_around_parallel_loops_wait_for_each_other) {
  Line l = make_line("steps");
  Tensor *h = temp(&l, "h", 0);
  add_kernel(&l, "steps_y", h, l.x, 0, false);
  make_for(&l.m, "t", make_int(&l.m, 5), HOW_SEQ);
  add_to(&l, l.y, h, 1, true);
  add_to(&l, h, l.y, 1, false);
  make_end(&l.m);
  must_have(&l.m, 1, 3, 3, 0);         // before the loop, inside of it, at the end of each step
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int i = 0; i < N; i++) ck_assert(y[i] == x[N - 1 - i] + 9);       // five times backwards, with 1 each, and four forwards
  arena_destroy(l.m.a);
} END_TEST

START_TEST(either_side_of_a_branch_counts_behind_it) {
  Line l = make_line("branch");
  Tensor *h = temp(&l, "h", 0);
  make_kernel(&l.m, "branch_y");
  make_if(&l.m, make_op(&l.m, OP_LT, l.n, make_int(&l.m, 10)));
  add_to(&l, h, l.x, 1, false);
  make_else(&l.m);
  add_to(&l, h, l.x, 2, false);
  make_end(&l.m);
  add_to(&l, l.y, h, 0, true);
  must_have(&l.m, 1, 3, 1, 0);
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int i = 0; i < N; i++) ck_assert(y[i] == x[N - 1 - i] + 2);
  arena_destroy(l.m.a);
} END_TEST

// A kernel whose checks fail where x is above `most`, and one that would fail everywhere.
static Line make_checked(void) {
  Line l = make_line("checked");
  Make *m = &l.m;
  for (int k = 0; k < 2; k++) {
    make_kernel(m, k ? "checked_y" : "checked_h");
    Site *site = make_site(m, E_data_subscript, l.y, l.x, 0, l.n);
    Expr *i = make_for(m, "i", l.n, HOW_PAR);
    make_if(m, make_op(m, OP_LT, make_float(m, k ? -1 : 48), make_read(m, l.x, &i)));
    make_fault(m, site, make_int(m, 7 + k));
    make_end(m);
    make_store(m, l.y, &i, make_read(m, l.x, &i));
    make_end(m);
  }
  return l;
}

START_TEST(a_check_that_failed_ends_the_region) {
  Line l = make_checked();
  const char *text = built_text(&l.m, true);
  ck_assert_int_eq(count(text, "    OMP(omp barrier)\n    if (fault[0]) goto failed;\n"), 1);
  Fault fault;
  float y[N], *x = counted();
  for (int k = 0; k < 2; k++) {        // the other kernel's check is reported where the first one's holds
    for (int i = 0; i < N && k; i++) x[i] = 0;
    ck_assert_int_eq(built_run(&l.m, (View[]){view1(x, N)}, (View[]){view1(y, N)}, &fault), CALL_FAULT);
    ck_assert_int_eq(fault.value, 7 + k);
  }
  arena_destroy(l.m.a);
} END_TEST

// A loop in order that stores its running sum, which a later statement reads: no one thread can do it for the others.
START_TEST(a_kernel_that_suits_no_region_keeps_its_own) {
  Line l = make_line("running");
  Tensor *h = temp(&l, "h", 0);
  make_kernel(&l.m, "running_y");
  Expr *s = make_var(&l.m, "s", make_float(&l.m, 0), 1), *k = make_for(&l.m, "k", l.n, HOW_SEQ);
  make_acc(&l.m, RED_SUM, s, make_read(&l.m, l.x, &k));
  make_store(&l.m, h, &k, s);
  make_end(&l.m);
  add_to(&l, l.y, h, 0, true);
  Expr *i = make_for(&l.m, "i", l.n, HOW_PAR);
  make_store(&l.m, l.y, &i, make_op(&l.m, OP_SUB, make_read(&l.m, l.y, &i), s));
  make_end(&l.m);
  must_have(&l.m, 0, 0, 0, 0);
  ck_assert_int_eq(count(built_text(&l.m, true), "OMP(omp parallel for"), 2);
  arena_destroy(l.m.a);
} END_TEST

START_TEST(a_loop_alone_is_a_region_of_its_own) {
  Line l = make_line("alone");
  add_kernel(&l, "alone_y", l.y, l.x, 1, false);
  must_have(&l.m, 0, 0, 0, 0);
  ck_assert_int_eq(count(built_text(&l.m, true), "OMP(omp parallel for"), 1);
  arena_destroy(l.m.a);
} END_TEST

START_TEST(a_loop_of_one_step_is_not_shared_out) {
  Line l = make_line("one");
  make_kernel(&l.m, "one_y");
  make_for(&l.m, "tile", make_int(&l.m, 1), HOW_PAR);
  Expr *i = make_for(&l.m, "i", l.n, HOW_SEQ);
  make_store(&l.m, l.y, &i, make_read(&l.m, l.x, &i));
  make_end(&l.m);
  make_end(&l.m);
  ck_assert_int_eq(count(built_text(&l.m, true), "OMP("), 0);
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int k = 0; k < N; k++) ck_assert(y[k] == x[k]);
  arena_destroy(l.m.a);
} END_TEST

// Where a loop alone is shared out: at 32768 elements, or where the pool says so; several loops, at 32768.
START_TEST(the_pool_is_asked_about_work_of_a_middling_size) {
  static const int size[] = { 100, 10000, 40000 };
  for (int k = 0; k < 3; k++) {
    Line l = make_line("grain");
    l.m.p->grain_awake = 8192;
    make_kernel(&l.m, "grain_y");
    Expr *i = make_for(&l.m, "i", l.n, HOW_PAR);
    l.m.open[1]->parallel_if = make_int(&l.m, size[k]);
    make_store(&l.m, l.y, &i, make_read(&l.m, l.x, &i));
    make_end(&l.m);
    ck_assert_int_eq(count(built_text(&l.m, true), "if(10000 >= plait_grain(8192, 32768))"), k == 1);
    ck_assert_int_eq(count(built_text(&l.m, false), "plait_grain"), 0);      // a file for others
    arena_destroy(l.m.a);
  }
} END_TEST

// 70 kernels, each from the one before: 64 in one region.
START_TEST(a_long_program_is_cut_into_regions) {
  Line l = make_line("long");
  for (int k = 0; k < 70; k++) {
    add_kernel(&l, "long_y", l.y, k ? l.y : l.x, 1, false);
  }
  must_have(&l.m, 2, 70, 68, 0);       // 63 and 5
  float *x = counted(), y[N];
  must_run(&l.m, x, y);
  for (int i = 0; i < N; i++) ck_assert(y[i] == x[i] + 70);
  arena_destroy(l.m.a);
} END_TEST

int main(void) {
  const TTest *tests[] = {
    a_kernel_that_reads_what_another_wrote_waits_for_it, loops_that_need_nothing_of_each_other_do_not_wait,
    a_place_that_two_temporaries_share_is_one, each_thread_adds_up_parts_for_itself, one_thread_writes_what_stands_between_loops,
    steps_of_a_loop_around_parallel_loops_wait_for_each_other, either_side_of_a_branch_counts_behind_it,
    a_check_that_failed_ends_the_region, a_kernel_that_suits_no_region_keeps_its_own, a_loop_alone_is_a_region_of_its_own,
    a_loop_of_one_step_is_not_shared_out, the_pool_is_asked_about_work_of_a_middling_size, a_long_program_is_cut_into_regions,
  };
  return UNIT_RUN("region", tests);
}
