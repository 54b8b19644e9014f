// 64 rows a vector, without byte permutations over registers.
#include "kernels.h"
#include "quantise_inl.h"
#include "row_codes64_inl.h"
#include "rows64_inl.h"
#include "slices512_inl.h"
#include "slices_words_inl.h"

namespace cpp_serving {

const Kernel kAvx512BwKernel{Isa::kAvx512Bw,
                             {&CompareOne, &SliceSlots<WordByWord>},
                             {&CompareSpan, &SliceSlots<MaskedSpan>},
                             &QuantiseRows,
                             &EvaluateRows64,
                             &AccumulateRows,
                             &QuantiseRow64,
                             nullptr,
                             nullptr};

}  // namespace cpp_serving
