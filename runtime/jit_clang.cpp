// jit_clang.cpp: C text to object code by Clang, object code to callable code by ORC, and CUDA text to PTX, all inside the process.
//
// The only C++ of the project and the only file that includes LLVM. It is a library of its own, libplait-clang.so;
// jit_clang.h says what it offers to the core. Nothing here reads or writes a file, prints, or ends the process:
//   - Clang sees a file system that holds one buffer, so #include, #embed and the like find nothing;
//   - there is no assembler parser and no inline assembly, so .incbin is no way around that;
//   - LLVM's fatal errors come back by longjmp, see Note [When LLVM gives up];
//   - compiled code finds the functions of a list and nothing else of the process.
#include "runtime/jit_clang.h"
#include "clang/AST/ASTConsumer.h"
#include "clang/Basic/CodeGenOptions.h"
#include "clang/Basic/DiagnosticOptions.h"
#include "clang/CodeGen/CodeGenAction.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/CompilerInvocation.h"
#include "clang/Frontend/MultiplexConsumer.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/ExecutionEngine/Orc/Core.h"
#include "llvm/ExecutionEngine/Orc/ExecutorProcessControl.h"
#include "llvm/ExecutionEngine/Orc/ObjectFileInterface.h"
#include "llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h"
#include "llvm/ExecutionEngine/Orc/TaskDispatch.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/VirtualFileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Host.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <string>
#include <vector>

using namespace llvm;

namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

char *copy_text(StringRef s) {
  char *p = static_cast<char *>(malloc(s.size() + 1));
  if (!p) return nullptr;
  memcpy(p, s.data(), s.size());
  p[s.size()] = 0;
  return p;
}

// ---- the machine -----------------------------------------------------------------------------------------------

// "+avx2", "-avx512f", … of this machine, sorted: LLVM hands them out in hash order.
std::vector<std::string> host_features() {
  std::vector<std::string> list;
  for (const auto &f : sys::getHostCPUFeatures()) list.push_back((f.getValue() ? "+" : "-") + f.getKey().str());
  std::sort(list.begin(), list.end());
  return list;
}

char *host() {
  std::string text = sys::getHostCPUName().str();
  for (const std::string &f : host_features())
    if (f[0] == '+') text += f;
  return copy_text(text);
}

// ---- compiling -------------------------------------------------------------------------------------------------

// One compilation: C for this machine, or CUDA text for a GPU.
struct Work {
  StringRef text;
  const char *name;                             // of the text, in diagnostics
  std::vector<std::string> flags;
  const char *library;                          // of a text for a GPU; NULL for one of C
};

// The flags of Clang's own front end (cc1), which are not those of its driver.
std::vector<std::string> flags_of(const ClangText &in) {
  std::vector<std::string> f = {
    "-triple", sys::getProcessTriple(), "-emit-obj", "-main-file-name", "plait.c", "-std=gnu17", "-fgnuc-version=4.2.1",
    "-O" + std::to_string(in.opt), "-vectorize-loops", "-vectorize-slp", "-fopenmp",
    "-mprefer-vector-width=512",                      // LLVM tunes several Intel cores for 256 bits; kernels are nothing but vectors
    in.strict ? "-ffp-contract=off" : "-ffp-contract=on", "-fno-rounding-math",
    "-mrelocation-model", "pic", "-pic-level", "2", "-mframe-pointer=none",
    "-relaxed-aliasing",                              // kernels read packed formats through several types
    "-fbracket-depth", "2048",                        // above LIMIT_EXPR_DEPTH with a few brackets a level
    "-disable-llvm-verifier", "-discard-value-names",
    "-nostdsysteminc", "-nobuiltininc", "-fno-gnu-inline-asm", "-disable-pragma-debug-crash",
    "-ferror-limit", "20", "-fmessage-length=120",
  };
  if (in.warnings) f.insert(f.end(), { "-Wall", "-Wextra" });
  else f.push_back("-w");
  bool native = strcmp(in.cpu, "native") == 0;
  f.insert(f.end(), { "-target-cpu", native ? sys::getHostCPUName().str() : in.cpu });
  if (native)
    for (const std::string &feature : host_features()) f.insert(f.end(), { "-target-feature", feature });
  f.insert(f.end(), { "-x", "c", "plait.c" });
  return f;
}

// Set when the stages end.
struct Stages { double parsed, optimised; };

struct MarkParsed : clang::ASTConsumer {
  Stages &at;
  explicit MarkParsed(Stages &s) : at(s) {}
  void HandleTranslationUnit(clang::ASTContext &) override { at.parsed = now_ms(); }
};

struct MarkOptimised : PassInfoMixin<MarkOptimised> {
  Stages *at;
  explicit MarkOptimised(Stages *s) : at(s) {}
  PreservedAnalyses run(Module &, ModuleAnalysisManager &) {
    at->optimised = now_ms();
    return PreservedAnalyses::all();
  }
  static bool isRequired() { return true; }
};

// Clang's emission of objects or of assembly text, with the clock read between the stages.
template <typename Action> struct Emit : Action {
  Stages &at;
  explicit Emit(Stages &s) : at(s) {}
  std::unique_ptr<clang::ASTConsumer> CreateASTConsumer(clang::CompilerInstance &ci, StringRef file) override {
    std::unique_ptr<clang::ASTConsumer> emit = Action::CreateASTConsumer(ci, file);
    if (!emit) return nullptr;
    std::vector<std::unique_ptr<clang::ASTConsumer>> both;
    both.push_back(std::make_unique<MarkParsed>(at));
    both.push_back(std::move(emit));
    return std::make_unique<clang::MultiplexConsumer>(std::move(both));
  }
};

// What the text of a GPU may use without declaring it.
const char cuda_prelude[] =
#include "runtime/jit_clang_cuda.inc"
  ;

// PTX of as old a version as the architecture has, so that as many drivers as can be take it.
std::string ptx_version(int arch) { return arch >= 89 ? "+ptx78" : arch >= 87 ? "+ptx74" : arch >= 86 ? "+ptx71" : arch >= 80 ? "+ptx70" : "+ptx63"; }

// a * b + c may be rounded once, as NVRTC does it; `fast` contracts across statements as well.
std::vector<std::string> gpu_flags_of(const ClangGpuText &in) {
  std::string cpu = "sm_" + std::to_string(in.arch);
  if (in.feature) cpu += in.feature;
  return {
    "-triple", "nvptx64-nvidia-cuda", "-aux-triple", sys::getProcessTriple(), "-S", "-main-file-name", "plait.cu", "-std=c++17", "-fcuda-is-device",
    "-O3", "-vectorize-loops", "-vectorize-slp", "-ffp-contract=fast", "-fno-rounding-math", "-target-cpu", cpu, "-target-feature", ptx_version(in.arch),
    "-relaxed-aliasing", "-fbracket-depth", "2048", "-disable-llvm-verifier", "-discard-value-names", "-nostdsysteminc", "-nobuiltininc",
    "-disable-pragma-debug-crash", "-ferror-limit", "20", "-fmessage-length=120", "-w", "-include", "cuda_prelude.h", "-include", "cuda_library.h", "-x", "cuda", "plait.cu",
  };
}

bool emit(const Work &w, raw_ostream &log, SmallVectorImpl<char> &object, Stages &at) {
  std::vector<const char *> args;
  for (const std::string &f : w.flags) args.push_back(f.c_str());

  // The engine takes -W flags from the options when it is made, so it is made twice: for the flags, and by them.
  auto inv = std::make_shared<clang::CompilerInvocation>();
  IntrusiveRefCntPtr<clang::DiagnosticOptions> options(&inv->getDiagnosticOpts());
  auto make_diags = [&] {
    return clang::CompilerInstance::createDiagnostics(options.get(), new clang::TextDiagnosticPrinter(log, options.get()), true);
  };
  if (!clang::CompilerInvocation::CreateFromArgs(*inv, args, *make_diags())) return false;
  inv->getCodeGenOpts().PassBuilderCallbacks.push_back([&at](PassBuilder &pb) {
    pb.registerOptimizerLastEPCallback([&at](ModulePassManager &pm, OptimizationLevel) { pm.addPass(MarkOptimised(&at)); });
  });

  clang::CompilerInstance ci;
  ci.setInvocation(inv);
  ci.setDiagnostics(make_diags().get());
  ci.setVerboseOutputStream(nulls());                                                // "2 errors generated."
  auto fs = makeIntrusiveRefCnt<vfs::InMemoryFileSystem>();
  fs->addFile(w.name, 0, MemoryBuffer::getMemBufferCopy(w.text, w.name));
  if (w.library) {
    fs->addFile("cuda_prelude.h", 0, MemoryBuffer::getMemBuffer(cuda_prelude, "cuda_prelude.h"));
    fs->addFile("cuda_library.h", 0, MemoryBuffer::getMemBufferCopy(w.library, "cuda_library.h"));
  }
  ci.createFileManager(fs);
  ci.setOutputStream(std::make_unique<raw_svector_ostream>(object));
  Emit<clang::EmitObjAction> to_object(at);
  Emit<clang::EmitAssemblyAction> to_text(at);
  clang::FrontendAction &action = w.library ? static_cast<clang::FrontendAction &>(to_text) : to_object;
  return ci.ExecuteAction(action) && !object.empty();
}

// `#pragma clang __debug` prints, and can do no good.
bool refused(const Work &w, std::string &why) {
  if (w.text.contains("__debug")) why = std::string(w.name) + ": error: '__debug' may not appear in a kernel\n";
  return !why.empty();
}

void compile_here(const Work &w, ClangObject &out) {
  std::string log;
  raw_string_ostream os(log);
  SmallVector<char, 0> object;
  double start = now_ms();
  Stages at = { start, 0 };
  bool ok = !refused(w, log) && emit(w, os, object, at);
  double end = now_ms();
  at.optimised = std::max(at.optimised, at.parsed);
  out.parse_ms = at.parsed - start;
  out.opt_ms = at.optimised - at.parsed;
  out.codegen_ms = end - at.optimised;
  out.log = copy_text(os.str());
  if (!ok || !(out.object = copy_text(StringRef(object.data(), object.size())))) return;
  out.size = object.size();
}

// Note [When LLVM gives up]
// What LLVM cannot do (an intrinsic that the target lacks, say) it reports to a handler, after which it ends the
// process. Ours leaves by longjmp to where we called it; what LLVM had allocated is lost, and locks it may have held
// stay so. Hence `fatal`: the core uses this library no more. Compilations have a thread to themselves.
// Threads that hold no guard are another user's of the same LLVM and get what they always got.
struct Guard {
  std::string why;
  jmp_buf back;
};
thread_local Guard *guard = nullptr;

void on_fatal(void *, const char *reason, bool) {
  if (!guard) return;
  guard->why = std::string("LLVM: ") + reason + "\n";
  longjmp(guard->back, 1);
}

// body(), or false when LLVM gave up in it. Nothing here needs a destructor between setjmp and longjmp.
template <typename Body> bool guarded(Guard &g, Body body) {
  guard = &g;
  bool whole = setjmp(g.back) == 0;
  if (whole) body();
  guard = nullptr;
  return whole;
}

struct Job {
  const Work *work;
  ClangObject *out;
};

void *compile_thread(void *arg) {
  Job *j = static_cast<Job *>(arg);
  Guard g;
  if (guarded(g, [j] { compile_here(*j->work, *j->out); })) return nullptr;
  j->out->fatal = 1;
  j->out->log = copy_text(g.why);
  return nullptr;
}

// Whether this LLVM can make PTX; then its back end is made ready.
bool initialise_gpu() {
  bool found = false;
#define LLVM_TARGET(NAME)                                                                        \
  if (StringRef(#NAME) == "NVPTX") {                                                             \
    LLVMInitialize##NAME##TargetInfo();                                                          \
    LLVMInitialize##NAME##Target();                                                              \
    LLVMInitialize##NAME##TargetMC();                                                            \
    found = true;                                                                                \
  }
#include "llvm/Config/Targets.def"
#define LLVM_ASM_PRINTER(NAME) if (StringRef(#NAME) == "NVPTX") LLVMInitialize##NAME##AsmPrinter();
#include "llvm/Config/AsmPrinters.def"
  return found;
}

void initialise() {
  InitializeNativeTarget();
  InitializeNativeTargetAsmPrinter();
  install_fatal_error_handler(on_fatal);
  install_bad_alloc_error_handler(on_fatal);
}
void initialise_once() {
  static std::once_flag once;
  std::call_once(once, initialise);
}

// On a thread of its own: the caller's stack may be small, and see Note [When LLVM gives up].
void compile_apart(const Work &w, ClangObject *out) {
  Job j = { &w, out };
  pthread_attr_t attr;
  pthread_t thread;
  sigset_t all, old;
  sigfillset(&all);
  for (int s : { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS }) sigdelset(&all, s);
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 16 << 20);   // Clang wants 8 MiB: clang/Basic/Stack.h, DesiredStackSize
  pthread_sigmask(SIG_SETMASK, &all, &old);     // signals stay with the host's threads
  int failed = pthread_create(&thread, &attr, compile_thread, &j);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  pthread_attr_destroy(&attr);
  if (failed) out->log = copy_text("cannot start a thread for the compiler\n");
  else pthread_join(thread, nullptr);
}

void compile(const ClangText *in, ClangObject *out) {
  initialise_once();
  *out = ClangObject();
  compile_apart({ StringRef(in->text, in->len), "plait.c", flags_of(*in), nullptr }, out);
}

void compile_gpu(const ClangGpuText *in, ClangObject *out) {
  initialise_once();
  static const bool has_gpu = initialise_gpu();
  *out = ClangObject();
  if (has_gpu) compile_apart({ StringRef(in->text, in->len), "plait.cu", gpu_flags_of(*in), in->library ? in->library : "" }, out);
  else out->log = copy_text("this LLVM was built without its NVPTX target\n");
}

// ---- linking ---------------------------------------------------------------------------------------------------

// Where the errors go that ORC reports while the calling thread links.
thread_local std::string *reported = nullptr;
thread_local bool missing = false;

void report(Error e) {
  handleAllErrors(
    std::move(e),
    [](const orc::SymbolsNotFound &nf) {
      missing = true;
      for (const orc::SymbolStringPtr &s : const_cast<orc::SymbolsNotFound &>(nf).getSymbols())
        if (reported) *reported += "a kernel may not call '" + (*s).str() + "': it is not on the list of functions\n";
    },
    [](const ErrorInfoBase &other) {
      if (reported) *reported += other.message() + "\n";
    });
}

} // namespace

struct ClangSession {
  orc::ExecutionSession es;
  orc::ObjectLinkingLayer layer;
  orc::JITDylib &runtime;                       // what modules may call
  std::atomic<unsigned> modules{0};
  explicit ClangSession(std::unique_ptr<orc::ExecutorProcessControl> epc)
    : es(std::move(epc)), layer(es), runtime(es.createBareJITDylib("runtime")) {}
};

struct ClangModule {
  ClangSession &s;
  orc::JITDylib &dylib;                         // each module has its own, so that all may use the same names
  std::vector<std::string> names;
  std::vector<ClangExport> exports;
};

namespace {

ClangSession *session_open(const ClangSymbol *symbols, size_t n, char **error) {
  initialise_once();
  auto epc = orc::SelfExecutorProcessControl::Create(std::make_shared<orc::SymbolStringPool>(),
                                                     std::make_unique<orc::InPlaceTaskDispatcher>());
  if (!epc) {
    *error = copy_text(toString(epc.takeError()));
    return nullptr;
  }
  auto s = std::make_unique<ClangSession>(std::move(*epc));
  s->es.setErrorReporter(report);
  orc::SymbolMap map;
  for (size_t i = 0; i < n; i++)
    map[s->es.intern(symbols[i].name)] = { orc::ExecutorAddr(reinterpret_cast<uintptr_t>(symbols[i].address)),
                                           JITSymbolFlags::Exported | JITSymbolFlags::Callable };
  cantFail(s->runtime.define(orc::absoluteSymbols(std::move(map))));
  return s.release();
}

void session_close(ClangSession *s) {
  if (Error e = s->es.endSession()) report(std::move(e));
  delete s;
}

void module_unlink(ClangModule *m) {
  orc::ExecutionSession &es = m->s.es;
  if (Error e = es.removeJITDylib(m->dylib)) report(std::move(e));
  es.getSymbolStringPool()->clearDeadEntries();
  delete m;
}

Error link_into(ClangModule &m, MemoryBufferRef object) {
  orc::ExecutionSession &es = m.s.es;
  auto interface = orc::getObjectFileInterface(es, object);
  if (!interface) return interface.takeError();
  orc::SymbolLookupSet wanted;
  for (const auto &s : interface->SymbolFlags)
    if (s.second.isExported()) wanted.add(s.first);
  m.dylib.addToLinkOrder(m.s.runtime);
  auto copy = MemoryBuffer::getMemBufferCopy(object.getBuffer(), "plait");
  if (Error e = m.s.layer.add(m.dylib.getDefaultResourceTracker(), std::move(copy), std::move(*interface))) return e;
  auto found = es.lookup(orc::makeJITDylibSearchOrder(&m.dylib), std::move(wanted));
  if (!found) return found.takeError();
  for (const auto &s : *found) m.names.push_back((*s.first).str());
  std::sort(m.names.begin(), m.names.end());
  for (const std::string &name : m.names)
    m.exports.push_back({ name.c_str(), (*found)[es.intern(name)].getAddress().toPtr<void *>() });
  return Error::success();
}

// The module, or null with the reasons in `text`.
ClangModule *link_module(ClangSession *s, StringRef object, std::string &text) {
  reported = &text;
  missing = false;
  auto *m = new ClangModule{ *s, s->es.createBareJITDylib("module " + std::to_string(s->modules++)), {}, {} };
  Error e = link_into(*m, MemoryBufferRef(object, "plait"));
  if (!e) return m;
  if (missing) consumeError(std::move(e));       // "failed to materialize": the cause has been reported
  else report(std::move(e));
  module_unlink(m);
  return nullptr;
}

ClangModule *module_link(ClangSession *s, const void *object, size_t size, int *cause, char **error) {
  std::string text;
  Guard g;
  ClangModule *m = nullptr;
  StringRef bytes(static_cast<const char *>(object), size);
  bool whole = guarded(g, [&] { m = link_module(s, bytes, text); });
  reported = nullptr;
  *cause = !whole ? CLANG_LINK_FATAL : missing ? CLANG_LINK_SYMBOL : CLANG_LINK_OTHER;
  *error = m && whole ? nullptr : copy_text(whole ? text : g.why);
  return whole ? m : nullptr;
}

const ClangExport *module_exports(const ClangModule *m, size_t *n) {
  *n = m->exports.size();
  return m->exports.data();
}

} // namespace

extern "C" __attribute__((visibility("default"))) const ClangTable plait_clang_table = {
  CLANG_TABLE_ABI, LLVM_VERSION_STRING, host, compile, session_open, session_close, module_link, module_exports, module_unlink,
  compile_gpu,
};
