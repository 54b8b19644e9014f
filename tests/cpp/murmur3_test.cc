// MurmurHash3 x86 32 gives its published values, tails of every length included.
#include "cpp_serving/murmur3.h"

#include <string_view>

#include "check.h"

int main() {
  using cpp_serving::Murmur3;
  CHECK(Murmur3("", 0) == 0u);
  CHECK(Murmur3("", 1) == 0x514E28B7u);
  CHECK(Murmur3("", 0xFFFFFFFFu) == 0x81F16F39u);
  CHECK(Murmur3(std::string_view("\0\0\0\0", 4), 0) == 0x2362F9DEu);
  CHECK(Murmur3("a", 0x9747B28Cu) == 0x7FA09EA6u);
  CHECK(Murmur3("aa", 0x9747B28Cu) == 0x5D211726u);
  CHECK(Murmur3("aaa", 0x9747B28Cu) == 0x283E0130u);
  CHECK(Murmur3("aaaa", 0x9747B28Cu) == 0x5A97808Au);
  CHECK(Murmur3("Hello, world!", 0x9747B28Cu) == 0x24884CBAu);
  CHECK(Murmur3("The quick brown fox jumps over the lazy dog", 0x9747B28Cu) == 0x2FA826CDu);
  CHECK(Murmur3("\xcf\x80\xcf\x80\xcf\x80\xcf\x80\xcf\x80\xcf\x80\xcf\x80\xcf\x80", 0x9747B28Cu) ==
        0xD58063C1u);  // Eight times pi: bytes above 0x7f are not signed.
  return Finish();
}
