// 64 rows a vector; tables of 256 bytes are looked up in registers.
#include "kernels.h"
#include "keys64_inl.h"
#include "lookup_vbmi_inl.h"
#include "quantise_inl.h"
#include "row_codes64_inl.h"
#include "row_trees_vbmi_inl.h"
#include "rows64_inl.h"
#include "slices_vbmi_inl.h"

namespace cpp_serving {
namespace {

// Row-major to feature-major: 16 features of 64 rows. Absent rows repeat the last one.
void Transpose(const float* rows, std::size_t num_rows, std::size_t stride, __mmask16 features,
               float* out) {
  for (std::size_t tile = 0; tile < kBlock; tile += 16) {
    __m512 a[16];
    __m512 b[16];
    for (std::size_t i = 0; i < 16; ++i) {
      const std::size_t row = tile + i < num_rows ? tile + i : num_rows - 1;
      a[i] = _mm512_maskz_loadu_ps(features, rows + row * stride);
    }
    for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      a[i] =
          _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b[i]), _mm512_castps_pd(b[i + 2])));
      a[i + 1] =
          _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b[i]), _mm512_castps_pd(b[i + 2])));
      a[i + 2] = _mm512_castpd_ps(
          _mm512_unpacklo_pd(_mm512_castps_pd(b[i + 1]), _mm512_castps_pd(b[i + 3])));
      a[i + 3] = _mm512_castpd_ps(
          _mm512_unpackhi_pd(_mm512_castps_pd(b[i + 1]), _mm512_castps_pd(b[i + 3])));
    }
    for (int i = 0; i < 4; ++i) {
      b[i] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
      b[i + 4] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD);
      b[i + 8] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
      b[i + 12] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xDD);
    }
    for (int i = 0; i < 4; ++i) {
      float* at = out + tile;
      _mm512_storeu_ps(at + (i)*kBlock, _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88));
      _mm512_storeu_ps(at + (i + 4) * kBlock, _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0x88));
      _mm512_storeu_ps(at + (i + 8) * kBlock, _mm512_shuffle_f32x4(b[i], b[i + 8], 0xDD));
      _mm512_storeu_ps(at + (i + 12) * kBlock, _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0xDD));
    }
  }
}

void Put(const Column& column, std::uint8_t* codes, std::size_t row, std::uint8_t code) {
  if (column.plane_left != kNoPlane) {
    codes[static_cast<std::size_t>(column.plane_left) * kBlock + row] = code;
  }
  if (column.plane_right != kNoPlane) {
    codes[static_cast<std::size_t>(column.plane_right) * kBlock + row] = code;
  }
}

// Of one column, 64 values.
void QuantiseColumn(const Layout& layout, const Column& column, const float* values,
                    std::uint8_t* codes) {
  __m512 x[4];
  __m512i keys[4];
  std::uint64_t missing = 0;
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_loadu_ps(values + 16 * i);
    missing |= std::uint64_t{_mm512_cmp_ps_mask(x[i], x[i], _CMP_UNORD_Q)} << (16 * i);
  }
  const __m512i start = _mm512_set1_epi32(static_cast<int>(column.first));
  if (column.linear != 0) {
    const __m512 scale = _mm512_set1_ps(column.scale);
    const __m512 lowest = _mm512_set1_ps(column.lowest);
    const __m512 highest = _mm512_set1_ps(column.highest);
    for (int i = 0; i < 4; ++i) keys[i] = LinearKeys(x[i], scale, lowest, highest, start);
  } else {
    const __m512i shift = _mm512_set1_epi32(static_cast<int>(column.shift));
    for (int i = 0; i < 4; ++i) keys[i] = BitKeys(x[i], start, shift);
  }
  // Saturates to 0..65535, and leaves groups of four rows interleaved; undone at the end.
  const __m512i a = _mm512_packus_epi32(keys[0], keys[1]);
  const __m512i b = _mm512_packus_epi32(keys[2], keys[3]);
  const __m512i byte = _mm512_set1_epi16(0xFF);
  const __m512i low = _mm512_packus_epi16(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte));
  const __m512i high = _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __mmask64 upper = _mm512_movepi8_mask(high);
  const __m512i one = _mm512_set1_epi8(1);
  const std::uint8_t* table = layout.tables + column.tables;
  __m512i code = Lookup256(table, high, upper);
  __mmask64 equal = 0;
  for (std::uint32_t round = 0; round < column.rounds; ++round) {
    table += kCells;
    const __m512i bound = Lookup256(table, high, upper);
    code = _mm512_mask_add_epi8(code, _mm512_cmpgt_epu8_mask(low, bound), code, one);
    equal |= _mm512_cmpeq_epi8_mask(low, bound);
  }
  code = _mm512_permutexvar_epi32(in_order, code);
  if (column.exact == 0 && equal != 0) {
    // Thresholds of a lower key are counted. Few values share a key with one.
    std::uint64_t open =
        _mm512_movepi8_mask(_mm512_permutexvar_epi32(in_order, _mm512_movm_epi8(equal)));
    if ((open &= ~missing) != 0) {
      alignas(64) std::uint8_t codes_of[kBlock];
      _mm512_store_si512(codes_of, code);
      const float* thresholds = layout.thresholds + column.thresholds;
      for (; open != 0; open &= open - 1) {
        const auto row = static_cast<std::size_t>(__builtin_ctzll(open));
        codes_of[row] = Counted(thresholds, codes_of[row], values[row]);
      }
      code = _mm512_load_si512(codes_of);
    }
  }
  if (column.plane_left != kNoPlane) {
    _mm512_storeu_si512(codes + static_cast<std::size_t>(column.plane_left) * kBlock,
                        _mm512_maskz_mov_epi8(~missing, code));
  }
  if (column.plane_right != kNoPlane) {
    _mm512_storeu_si512(codes + static_cast<std::size_t>(column.plane_right) * kBlock,
                        _mm512_mask_mov_epi8(code, missing, _mm512_set1_epi8(-1)));
  }
}

void QuantiseByValue(const Layout& layout, const Column& column, const float* values,
                     std::uint8_t* codes) {
  for (std::size_t row = 0; row < kBlock; ++row) {
    const float x = values[row];
    const bool missing = x != x;
    const std::uint8_t code = missing ? 0 : Code(layout, column, x);
    Put(column, codes, row, code);
    if (missing && column.plane_right != kNoPlane) {
      codes[static_cast<std::size_t>(column.plane_right) * kBlock + row] = 255;
    }
  }
}

// Tile by tile of 16 features, so that their tables are fetched once for all rows.
void Quantise(const Layout& layout, const float* rows, std::size_t num_rows, std::uint8_t* codes,
              std::size_t block_bytes) {
  alignas(64) float values[16 * kBlock];
  std::uint32_t begin = 0;
  while (begin < layout.num_columns) {
    const std::uint32_t tile = layout.columns[begin].feature / 16 * 16;
    const std::uint32_t present = layout.num_features - tile;
    const auto mask = static_cast<__mmask16>(present >= 16 ? 0xFFFF : (1u << present) - 1);
    const std::uint32_t last = tile + (present >= 16 ? 15 : present - 1);
    std::uint32_t end = begin;
    while (end < layout.num_columns && layout.columns[end].feature < tile + 16) ++end;
    for (std::size_t row = 0; row < num_rows; row += kBlock) {
      const std::size_t count = num_rows - row < kBlock ? num_rows - row : kBlock;
      const float* block = rows + row * layout.num_features + tile;
      Transpose(block, count, layout.num_features, mask, values);
      std::uint8_t* of_block = codes + row / kBlock * block_bytes;
      for (std::uint32_t c = begin; c < end; ++c) {
        const Column& column = layout.columns[c];
        const float* of_feature = values + (column.feature - tile) * kBlock;
        // The next block's rows, a few at a time: they are too far apart for the processor to
        // foresee, and it can wait for a few lines only.
        for (std::size_t i = 0; i < 4; ++i) {
          const std::size_t next = row + kBlock + ((c - begin) % 16) * 4 + i;
          if (next < num_rows) __builtin_prefetch(rows + next * layout.num_features + last);
        }
        if (column.rounds > kMaxRounds) {
          QuantiseByValue(layout, column, of_feature, of_block);
        } else {
          QuantiseColumn(layout, column, of_feature, of_block);
        }
      }
    }
    begin = end;
  }
}

// Bytes are summed in 16 bits: `all` holds (even row's + 256 * odd row's) modulo 2^16, `odd` the
// odd row's alone.
template <int kBytes, int kIds>
inline __attribute__((always_inline)) void AddBytes(const std::uint8_t* table, __m512i at,
                                                    __m512i* all, __m512i* odd) {
  [[maybe_unused]] const __mmask64 upper = _mm512_movepi8_mask(at);
  for (int b = 0; b < kBytes; ++b) {
    const std::uint8_t* of_byte = table + b * kIds;
    const __m512i bytes = kIds == 64    ? Lookup64(of_byte, at)
                          : kIds == 128 ? Lookup128(of_byte, at)
                                        : Lookup256(of_byte, at, upper);
    all[b] = _mm512_add_epi16(all[b], bytes);
    odd[b] = _mm512_add_epi16(odd[b], _mm512_srli_epi16(bytes, 8));
  }
}

template <int kBytes>
void Accumulate(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                const std::uint8_t* ids, std::int64_t* sums) {
  __m512i all[kBytes];
  __m512i odd[kBytes];
  for (int b = 0; b < kBytes; ++b) all[b] = odd[b] = _mm512_setzero_si512();
  for (std::uint32_t slot = begin; slot < end; ++slot) {
    const std::uint8_t* table = layout.weight_bytes + layout.weight_bytes_at[slot];
    const __m512i at = _mm512_loadu_si512(ids + (slot - begin) * kBlock);
    switch (layout.num_ids[slot]) {
      case 64:
        AddBytes<kBytes, 64>(table, at, all, odd);
        break;
      case 128:
        AddBytes<kBytes, 128>(table, at, all, odd);
        break;
      default:
        AddBytes<kBytes, 256>(table, at, all, odd);
        break;
    }
  }
  alignas(64) std::uint16_t even_sums[kBytes][32];
  alignas(64) std::uint16_t odd_sums[kBytes][32];
  for (int b = 0; b < kBytes; ++b) {
    _mm512_store_si512(even_sums[b], _mm512_sub_epi16(all[b], _mm512_slli_epi16(odd[b], 8)));
    _mm512_store_si512(odd_sums[b], odd[b]);
  }
  for (std::size_t i = 0; i < 32; i += 8) {
    __m512i even_total = _mm512_setzero_si512();
    __m512i odd_total = _mm512_setzero_si512();
    for (int b = kBytes - 1; b >= 0; --b) {
      even_total = _mm512_add_epi64(
          _mm512_slli_epi64(even_total, 8),
          _mm512_cvtepu16_epi64(_mm_load_si128(reinterpret_cast<__m128i*>(even_sums[b] + i))));
      odd_total = _mm512_add_epi64(
          _mm512_slli_epi64(odd_total, 8),
          _mm512_cvtepu16_epi64(_mm_load_si128(reinterpret_cast<__m128i*>(odd_sums[b] + i))));
    }
    const __m512i lower = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i higher = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    std::int64_t* at = sums + 2 * i;
    _mm512_storeu_si512(at,
                        _mm512_add_epi64(_mm512_loadu_si512(at),
                                         _mm512_permutex2var_epi64(even_total, lower, odd_total)));
    _mm512_storeu_si512(at + 8,
                        _mm512_add_epi64(_mm512_loadu_si512(at + 8),
                                         _mm512_permutex2var_epi64(even_total, higher, odd_total)));
  }
}

void AccumulateAny(const Layout& layout, std::uint32_t begin, std::uint32_t end,
                   const std::uint8_t* ids, std::int64_t* sums) {
  switch (layout.num_bytes) {
    case 1:
      return Accumulate<1>(layout, begin, end, ids, sums);
    case 2:
      return Accumulate<2>(layout, begin, end, ids, sums);
    case 3:
      return Accumulate<3>(layout, begin, end, ids, sums);
    case 4:
      return Accumulate<4>(layout, begin, end, ids, sums);
    case 5:
      return Accumulate<5>(layout, begin, end, ids, sums);
    case 6:
      return Accumulate<6>(layout, begin, end, ids, sums);
    default:
      return Accumulate<7>(layout, begin, end, ids, sums);
  }
}

}  // namespace

const Kernel kAvx512VbmiKernel{Isa::kAvx512Vbmi,
                               {&TestOne, &SliceSlots<OneBlock>},
                               {&TestSpan, &SliceSlots<SpanOfBlocks>},
                               &Quantise,
                               &EvaluateRows64,
                               &AccumulateAny,
                               &QuantiseRow64,
                               &RowSum,
                               &RowEnds};

}  // namespace cpp_serving
