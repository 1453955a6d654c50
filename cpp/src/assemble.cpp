#include "assemble.hpp"

#include <algorithm>
#include <cmath>

#include "boxes.hpp"
#include "course.hpp"

namespace bev_instseg {
namespace {

constexpr double kSeedClip = 1e-4;  // least distance from 0 and 1, where the logit is infinite
// An object of a class that grows higher than this is a piece of the sensor's own vehicle if it is
// entirely this near and this low.
constexpr float kLargeM = 4.0F, kOwnReachM = 3.5F, kOwnHeightM = 0.5F;

/// Fill in the cluster of each point, 0 for none; return the number of points of each cluster.
std::vector<int> assign_points(const Pillars& pillars, const Clusters& clusters,
                               const Config& config, std::vector<std::int32_t>& owner) {
  owner.assign(pillars.point_to_pillar.size(), 0);
  std::vector<int> size(clusters.classes.size());
  for (std::size_t i = 0; i < owner.size(); ++i) {
    const std::int32_t p = pillars.point_to_pillar[i];
    const std::int32_t label = p < 0 ? 0 : clusters.labels[p];
    if (label == 0) continue;
    const float height_m = pillars.point_height_m[i];
    const float max_height_m = config.classes[clusters.classes[label - 1]].max_height_m;
    if (config.min_height_m <= height_m && height_m <= max_height_m) {
      owner[i] = label;
      ++size[label - 1];
    }
  }
  return size;
}

/// Return the probability that an instance is an object: sigmoid(a + b logit(s) + c log(n)).
float probability(float mean_seed, int num_points, const std::array<double, 3>& a_b_c) {
  const double s = std::clamp<double>(mean_seed, kSeedClip, 1 - kSeedClip);
  const double log_odds = a_b_c[0] + a_b_c[1] * std::log(s / (1 - s)) +
                          a_b_c[2] * std::log(std::max(num_points, 1));
  return static_cast<float>(0.5 + 0.5 * std::tanh(log_odds / 2));
}

/// Return the scores of all clusters, calibrated if the model is.
std::vector<float> score(const Clusters& clusters, const std::vector<int>& size,
                         const Config& config) {
  std::vector<float> scores = clusters.scores;
  if (config.calibration.empty()) return scores;
  for (std::size_t k = 0; k < scores.size(); ++k) {
    scores[k] = probability(scores[k], size[k], config.calibration[clusters.classes[k]]);
  }
  return scores;
}

/// Replace label kept[n] + 1 by n + 1, and the labels of clusters that are not kept by 0.
void renumber(std::vector<std::int32_t>& labels, const std::vector<std::size_t>& kept,
              std::size_t count) {
  std::vector<std::int32_t> number(count + 1);
  for (std::size_t n = 0; n < kept.size(); ++n) {
    number[kept[n] + 1] = static_cast<std::int32_t>(n + 1);
  }
  for (std::int32_t& label : labels) label = number[label];
}

/// Whether a box contains the sensor or, in a class of large objects, is entirely near it and low,
/// as a piece of the sensor's own vehicle.
bool is_own_vehicle(const Box& box, const ClassConfig& found) {
  const float cos = std::cos(box.yaw), sin = std::sin(box.yaw);
  const float along = std::abs(box.x * cos + box.y * sin);
  const float across = std::abs(box.y * cos - box.x * sin);
  if (along < box.length / 2 && across < box.width / 2) return true;
  const float farthest_m = std::hypot(along + box.length / 2, across + box.width / 2);
  return found.max_height_m > kLargeM && farthest_m < kOwnReachM && box.height < kOwnHeightM;
}

/// Return the clusters with enough points and score, by descending score.
std::vector<std::size_t> select(const Clusters& clusters, const std::vector<int>& size,
                                const std::vector<float>& scores, const Config& config) {
  std::vector<std::size_t> kept;
  for (std::size_t k = 0; k < scores.size(); ++k) {
    const int min_points = std::max(config.classes[clusters.classes[k]].min_points, 1);
    if (size[k] >= min_points && scores[k] >= config.score_threshold) kept.push_back(k);
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  return kept;
}

/// Fill in the courses of instances whose class is learned in pieces, and fit their boxes again,
/// along the principal axis: fitting an L-shape suits cars, not lines.
void add_courses(Result& result, const Point* points, const Config& config) {
  std::vector<std::vector<Point>> members(result.instances.size() + 1);
  for (std::size_t i = 0; i < result.labels.size(); ++i) {
    const std::int32_t label = result.labels[i];
    if (label > 0 && config.classes[result.instances[label - 1].class_index].in_pieces) {
      members[label].push_back(points[i]);
    }
  }
  const std::vector<Box> boxes = principal_boxes(points, result.labels, 0, members.size() - 1);
  for (Instance& one : result.instances) {
    if (members[one.number].empty()) continue;
    one.course = course(members[one.number]);
    one.box = boxes[one.number - 1];
  }
}

}  // namespace

Result assemble(const Point* points, const Pillars& pillars, const Clusters& clusters,
                const Config& config) {
  Result result;
  const std::vector<int> size = assign_points(pillars, clusters, config, result.labels);
  const std::vector<float> scores = score(clusters, size, config);
  const std::vector<std::size_t> kept = select(clusters, size, scores, config);
  renumber(result.labels, kept, size.size());
  const std::vector<Box> boxes = oriented_boxes(points, result.labels, kept.size());
  std::vector<std::size_t> others;  // all but the ego vehicle
  for (std::size_t n = 0; n < kept.size(); ++n) {
    const std::size_t k = kept[n];
    const ClassConfig& found = config.classes[clusters.classes[k]];
    if (is_own_vehicle(boxes[n], found) && !found.in_pieces) continue;
    others.push_back(n);
    result.instances.push_back({static_cast<int>(others.size()), clusters.classes[k], found.label,
                                found.name, scores[k], size[k], boxes[n], {}});
  }
  if (others.size() < kept.size()) renumber(result.labels, others, kept.size());
  if (config.has_pieces()) add_courses(result, points, config);
  return result;
}

}  // namespace bev_instseg
