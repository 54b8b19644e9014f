// CRC-32 gives the values that zlib gives.
#include "cpp_serving/crc32.h"

#include <cstring>

#include "check.h"

int main() {
  using cpp_serving::Crc32;
  CHECK(Crc32("", 0) == 0);
  CHECK(Crc32("123456789", 9) == 0xCBF43926u);  // The polynomial's published check value.
  CHECK(Crc32("6789", 4, Crc32("12345", 5)) == 0xCBF43926u);
  CHECK(Crc32("\0\0\0\0", 4) == 0x2144DF1Cu);
  return Finish();
}
