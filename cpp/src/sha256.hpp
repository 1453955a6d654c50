#pragma once

#include <string>
#include <string_view>

namespace bev_instseg {

/// Return the SHA-256 of some bytes (FIPS 180-4) in hexadecimal, 64 lower-case digits.
std::string sha256(std::string_view bytes);

}  // namespace bev_instseg
