#include "cluster.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bev_instseg {
namespace {

constexpr double kMarginSquared = 2 * 0.6931471805599453;  // 2 ln 2, where phi is 0.5 (eq. 6)
constexpr double kBucketM = 1.0;                           // about half the size of an object
constexpr int kMaxBuckets = 256;  // along x and along y; the outermost hold everything beyond

struct Opener {
  std::size_t pillar;
  float seed;
};

/// The pillars that may join an instance, and those that may open one by descending seed.
struct Candidates {
  std::vector<std::size_t> active;
  std::vector<Opener> openers;
};

/// Return the largest seed of a pillar, NaN if one is NaN.
float largest(const float* seed, std::size_t num_classes) {
  float top = -std::numeric_limits<float>::infinity();
  for (std::size_t c = 0; c < num_classes && !std::isnan(top); ++c) {
    if (seed[c] > top || std::isnan(seed[c])) top = seed[c];
  }
  return top;
}

Candidates select_pillars(const Embeddings& embeddings, const Config& config) {
  Candidates found;
  for (std::size_t p = 0; p < embeddings.num_pillars; ++p) {
    const std::size_t num_classes = embeddings.num_classes;
    const float top = largest(embeddings.seed + p * num_classes, num_classes);
    if (!(top >= config.member_threshold)) continue;
    found.active.push_back(p);
    if (top >= config.seed_threshold) found.openers.push_back({p, top});
  }
  std::stable_sort(found.openers.begin(), found.openers.end(),
                   [](const Opener& a, const Opener& b) { return a.seed > b.seed; });
  return found;
}

/// The buckets of one axis.
struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  int count = 1;

  void widen(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }

  void count_buckets() {
    if (low > high) return;
    const double needed = std::floor((high - low) / kBucketM) + 1;
    count = static_cast<int>(std::min(needed, double(kMaxBuckets)));
  }

  /// Return the number of a bucket; it is monotonic in the value.
  int bucket(double value) const {
    const double at = (value - low) / kBucketM;
    return static_cast<int>(std::min(at > 0 ? at : 0.0, count - 1.0));
  }
};

/// Pillars sorted by square buckets of their centres.
class Buckets {
 public:
  Buckets(const Embeddings& embeddings, const std::vector<std::size_t>& active) {
    std::vector<std::size_t> finite;
    for (const std::size_t p : active) {
      const float* centre = embeddings.centre_m + 2 * p;
      if (!std::isfinite(centre[0]) || !std::isfinite(centre[1])) continue;
      finite.push_back(p);
      x.widen(centre[0]);
      y.widen(centre[1]);
    }
    x.count_buckets();
    y.count_buckets();
    const auto bucket_of = [&](std::size_t p) {
      const float* centre = embeddings.centre_m + 2 * p;
      return x.bucket(centre[0]) * y.count + y.bucket(centre[1]);
    };
    start.assign(x.count * y.count + 1, 0);
    for (const std::size_t p : finite) ++start[bucket_of(p) + 1];
    for (int b = 0; b < x.count * y.count; ++b) start[b + 1] += start[b];
    std::vector<std::size_t> fill(start.begin(), start.end() - 1);
    members.resize(finite.size());
    for (const std::size_t p : finite) members[fill[bucket_of(p)]++] = p;
  }

  Axis x, y;
  std::vector<std::size_t> members;  // pillars bucket by bucket
  std::vector<std::size_t> start;    // position of each bucket's first pillar
};

/// The margin of a pillar: a squared Mahalanobis distance below 2 ln 2 from its centre.
struct Margin {
  double x, y, xx, xy, yy;

  Margin(const float* centre, const float* precision)
      : x(centre[0]), y(centre[1]), xx(precision[0]), xy(precision[1]), yy(precision[2]) {}

  bool contains(const float* centre) const {
    const double dx = centre[0] - x, dy = centre[1] - y;
    return xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy < kMarginSquared;
  }
};

struct BucketRange {
  int x_first, x_last, y_first, y_last;
};

/// Return the buckets that overlap the margin's bounding box, a little enlarged; all buckets if
/// the ellipse is so thin that rounding could move a centre out of them.
BucketRange overlapping(const Margin& margin, const Buckets& buckets) {
  const auto& [x, y, xx, xy, yy] = margin;
  const double det = xx * yy - xy * xy;
  if (!(xx > 0 && det > 1e-6 * xx * yy)) return {0, buckets.x.count - 1, 0, buckets.y.count - 1};
  const double half_x = 1.000001 * std::sqrt(kMarginSquared * yy / det);
  const double half_y = 1.000001 * std::sqrt(kMarginSquared * xx / det);
  return {buckets.x.bucket(x - half_x), buckets.x.bucket(x + half_x),
          buckets.y.bucket(y - half_y), buckets.y.bucket(y + half_y)};
}

/// Label the pillars, and list the pillar that opened each instance.
void claim(const Embeddings& embeddings, const Candidates& candidates, double min_free,
           Clusters& clusters) {
  std::vector<std::int32_t>& labels = clusters.labels;
  const Buckets buckets(embeddings, candidates.active);
  std::vector<std::size_t> unclaimed;
  for (const Opener& opener : candidates.openers) {
    const Margin margin(embeddings.centre_m + 2 * opener.pillar,
                        embeddings.precision + 3 * opener.pillar);
    if (labels[opener.pillar] > 0 || !std::isfinite(margin.x) || !std::isfinite(margin.y)) continue;
    const BucketRange range = overlapping(margin, buckets);
    unclaimed.clear();
    std::size_t inside = 0;
    for (int column = range.x_first; column <= range.x_last; ++column) {
      const int row = column * buckets.y.count;
      const std::size_t end = buckets.start[row + range.y_last + 1];
      for (std::size_t m = buckets.start[row + range.y_first]; m < end; ++m) {
        const std::size_t p = buckets.members[m];
        if (!margin.contains(embeddings.centre_m + 2 * p)) continue;
        ++inside;
        if (labels[p] == 0) unclaimed.push_back(p);
      }
    }
    const auto count = static_cast<double>(unclaimed.size());
    if (unclaimed.empty() || count < min_free * static_cast<double>(inside)) continue;
    clusters.openers.push_back(opener.pillar);
    const auto number = static_cast<std::int32_t>(clusters.openers.size());
    for (const std::size_t p : unclaimed) labels[p] = number;
  }
}

/// Fill in the class of each instance, the one with the largest sum of seeds (ties: the lower), and
/// its score, the mean seed of that class.
void classify(const Embeddings& embeddings, const std::vector<std::size_t>& active,
              Clusters& clusters) {
  const std::size_t num_classes = embeddings.num_classes, num = clusters.openers.size();
  std::vector<double> sums(num * num_classes);
  std::vector<double> size(num);
  for (const std::size_t p : active) {
    if (clusters.labels[p] == 0) continue;
    const int k = clusters.labels[p] - 1;
    size[k] += 1;
    for (std::size_t c = 0; c < num_classes; ++c) {
      sums[k * num_classes + c] += embeddings.seed[p * num_classes + c];
    }
  }
  for (std::size_t k = 0; k < num; ++k) {
    const double* first = sums.data() + k * num_classes;
    const double* best = std::max_element(first, first + num_classes);
    clusters.classes.push_back(static_cast<int>(best - first));
    clusters.scores.push_back(static_cast<float>(*best / size[k]));
  }
}

}  // namespace

Clusters cluster(const Embeddings& embeddings, const Config& config) {
  const Candidates candidates = select_pillars(embeddings, config);
  Clusters clusters;
  clusters.labels.assign(embeddings.num_pillars, 0);
  claim(embeddings, candidates, config.min_free, clusters);
  classify(embeddings, candidates.active, clusters);
  return clusters;
}

}  // namespace bev_instseg
