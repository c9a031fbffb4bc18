#include "core/checksum.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace {

// The check value of CRC-32C as the catalogues of CRC algorithms state it.
TEST(Checksum, EqualsTheStandardCheckValue) {
  const std::string digits = "123456789";
  EXPECT_EQ(pgwc::crc32c(digits.data(), digits.size()), 0xE3069283u);
  EXPECT_EQ(pgwc::crc32c_portable(digits.data(), digits.size()), 0xE3069283u);
}

TEST(Checksum, IsTheSameWithAndWithoutTheProcessorsInstruction) {
  std::mt19937 random(1);
  std::string bytes;
  for (int size = 0; size < 300; ++size) {
    EXPECT_EQ(pgwc::crc32c(bytes.data(), bytes.size()),
              pgwc::crc32c_portable(bytes.data(), bytes.size()))
        << size;
    bytes.push_back(static_cast<char>(random()));
  }
}

}  // namespace
