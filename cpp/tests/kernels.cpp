/// Runs one kernel on arrays in a file, for tests/test_cpp.py to compare with Python bit by bit:
///
///     kernels voxelize MODEL.json POINTS OUT      features and heights of (N, 4) points
///     kernels cluster MODEL.json EMBEDDINGS OUT   labels, classes and scores of (P, 2) centres,
///                                                 (P, 3) precisions and (P, C) seeds
///     kernels extras MODEL.json SWEEP OUT         labels, ground and unknown objects' boxes, of
///                                                 (N, 4) points and (N,) int32 labels of objects

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "cluster.hpp"
#include "config.hpp"
#include "ground_points.hpp"
#include "unknown.hpp"
#include "voxelize.hpp"

namespace {

std::string read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
void write(std::ofstream& file, const std::vector<T>& values) {
  const auto num_bytes = static_cast<std::streamsize>(values.size() * sizeof(T));
  file.write(reinterpret_cast<const char*>(values.data()), num_bytes);
}

}  // namespace

int main(int, char** arguments) {
  const std::string kernel = arguments[1], bytes = read(arguments[3]);
  const auto config = bev_instseg::read_config(bev_instseg::Json::parse(read(arguments[2])));
  const auto* values = reinterpret_cast<const float*>(bytes.data());
  std::ofstream out(arguments[4], std::ios::binary);
  if (kernel == "voxelize") {
    const auto* points = reinterpret_cast<const bev_instseg::Point*>(values);
    const std::size_t num_points = bytes.size() / sizeof(bev_instseg::Point);
    const auto pillars = bev_instseg::voxelize(points, num_points, config.grid);
    write(out, pillars.features);
    write(out, pillars.point_height_m);
  } else if (kernel == "extras") {
    const std::size_t num_points = bytes.size() / sizeof(float[5]);
    const auto* points = reinterpret_cast<const bev_instseg::Point*>(values);
    const auto* labels = reinterpret_cast<const std::int32_t*>(points + num_points);
    bev_instseg::Result result;
    result.labels.assign(labels, labels + num_points);
    const int num_known = num_points ? *std::max_element(labels, labels + num_points) : 0;
    result.instances.resize(num_known);
    const auto pillars = bev_instseg::voxelize(points, num_points, config.grid);
    bev_instseg::add_unknown(result, points, pillars, config);
    write(out, result.labels);
    write(out, bev_instseg::find_ground(pillars, result.labels));
    std::vector<bev_instseg::Box> boxes;
    for (const auto& one : result.instances) boxes.push_back(one.box);
    boxes.erase(boxes.begin(), boxes.begin() + num_known);
    write(out, boxes);
  } else {
    const std::size_t num_classes = config.classes.size();
    const std::size_t p = bytes.size() / sizeof(float) / (5 + num_classes);
    const auto clusters =
        bev_instseg::cluster({p, num_classes, values, values + 2 * p, values + 5 * p}, config);
    write(out, clusters.labels);
    write(out, clusters.classes);
    write(out, clusters.scores);
  }
}
