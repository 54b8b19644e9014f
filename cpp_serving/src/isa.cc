// Which kernels were compiled, and which of them this processor can run.
#include "isa.h"

#include <cstdlib>

#include "cpp_serving/error.h"

namespace cpp_serving {
namespace {

bool Runs(Isa isa) {
#if defined(CPP_SERVING_X86_64)
  // These also ask whether the operating system keeps the registers.
  __builtin_cpu_init();
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") != 0;
    case Isa::kAvx512Bw:
      return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
    case Isa::kAvx512Vbmi:
      return Runs(Isa::kAvx512Bw) && __builtin_cpu_supports("avx512vbmi") != 0 &&
             __builtin_cpu_supports("gfni") != 0;
  }
#endif
  return isa == Isa::kScalar;
}

}  // namespace

const char* NameOf(Isa isa) {
  constexpr const char* kNames[] = {"scalar", "avx2", "avx512bw", "avx512vbmi"};
  return kNames[static_cast<int>(isa)];
}

std::vector<Isa> RunnableIsas() {
  std::vector<Isa> found;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512Bw, Isa::kAvx512Vbmi}) {
    if (Runs(isa)) found.push_back(isa);
  }
  return found;
}

Isa IsaFromName(const std::string& name) {
  std::string wanted = name;
  std::string where = "kernel '" + name + "'";
  if (name == "auto") {
    const char* variable = std::getenv("CPP_SERVING_KERNEL");
    if (variable == nullptr || *variable == '\0' || std::string("auto") == variable) {
      return RunnableIsas().back();
    }
    wanted = variable;
    where = "the environment variable CPP_SERVING_KERNEL";
  }
  std::string known;
  for (const Isa isa : RunnableIsas()) {
    if (wanted == NameOf(isa)) return isa;
    known += std::string(known.empty() ? "" : ", ") + NameOf(isa);
  }
  throw Error(Error::Kind::kStack, "no kernel called '" + wanted + "' can run here.", where,
              "use auto or one of: " + known);
}

const Kernel& KernelOf(Isa isa) {
  if (!Runs(isa)) {
    throw Error(Error::Kind::kStack,
                std::string("the kernel '") + NameOf(isa) + "' can not run on this processor.",
                "the instruction set asked for", "use auto");
  }
  switch (isa) {
#if defined(CPP_SERVING_X86_64)
    case Isa::kAvx2:
      return kAvx2Kernel;
    case Isa::kAvx512Bw:
      return kAvx512BwKernel;
    case Isa::kAvx512Vbmi:
      return kAvx512VbmiKernel;
#endif
    default:
      return kScalarKernel;
  }
}

}  // namespace cpp_serving
