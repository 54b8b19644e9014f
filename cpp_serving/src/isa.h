// The kernel of an instruction set.
#ifndef CPP_SERVING_SRC_ISA_H_
#define CPP_SERVING_SRC_ISA_H_

#include "kernels.h"

namespace cpp_serving {

// Throws Error(kStack) when this processor can not run it.
const Kernel& KernelOf(Isa isa);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_ISA_H_
