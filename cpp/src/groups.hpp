#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bev_instseg {

/// A union-find; the root of each group is its first member.
class Groups {
 public:
  explicit Groups(std::size_t count) : root_(count) {
    for (std::size_t p = 0; p < count; ++p) root_[p] = static_cast<std::int32_t>(p);
  }

  std::int32_t find(std::int32_t p) {
    while (root_[p] != p) p = root_[p] = root_[root_[p]];
    return p;
  }

  void join(std::int32_t p, std::int32_t q) {
    p = find(p), q = find(q);
    root_[std::max(p, q)] = std::min(p, q);
  }

 private:
  std::vector<std::int32_t> root_;
};

}  // namespace bev_instseg
