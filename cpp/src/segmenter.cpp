#include "bev_instseg/segmenter.hpp"

#include <algorithm>
#include <climits>
#include <stdexcept>

#include "assemble.hpp"
#include "check_points.hpp"
#include "cluster.hpp"
#include "ground_points.hpp"
#include "join.hpp"
#include "model_files.hpp"
#include "network.hpp"
#include "network_input.hpp"
#include "relative_intensity.hpp"
#include "unknown.hpp"
#include "voxelize.hpp"

namespace bev_instseg {
namespace {

std::string in_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

Network load_network(const std::string& path, const ModelFiles& files, int num_threads) {
  try {
    Network network(files.model, files.weights, files.config, num_threads);
    if (network.num_classes() == files.config.classes.size()) return network;
    throw std::runtime_error(std::to_string(network.num_classes()) + " seed maps for " +
                             std::to_string(files.config.classes.size()) + " classes");
  } catch (const std::exception& error) {
    throw std::runtime_error(path + ": OpenVINO cannot load it (" + in_one_line(error.what()) +
                             "); export it again with this version of bev-instseg");
  }
}

/// Refuse classes that cannot be told from the extras.
void check_classes(const std::string& model, const Config& config, Extras extras) {
  for (const ClassConfig& each : config.classes) {
    const std::string start = model + ": class " + each.name;
    if (extras.unknown && (each.name == kUnknownName || each.label == kUnknownLabel)) {
      throw std::runtime_error(start + " has the name or the label " +
                               std::to_string(kUnknownLabel) + " of unknown objects; change it in "
                               "the .json, or leave out unknown");
    }
    if (extras.ground && each.label == kGroundLabel) {
      throw std::runtime_error(start + " has the label " + std::to_string(kGroundLabel) +
                               " of the ground; change it in the .json, or leave out ground");
    }
  }
}

}  // namespace

struct Segmenter::Parts {
  Config config;
  Extras extras;
  Network network;

  /// Find the objects of the model's classes.
  Result find_known(const Point* points, const Pillars& pillars) {
    Result none;
    none.labels.resize(pillars.point_to_pillar.size());
    if (pillars.cells.empty()) return none;
    NetworkInput input = make_network_input(pillars, config.grid, config.sparse_levels);
    const Embeddings embeddings = network.infer(input, pillars.cells.size());
    Clusters clusters = cluster(embeddings, config);
    if (config.has_pieces()) {
      clusters = join_pieces(clusters, embeddings, input.centres_m, config);
    }
    return assemble(points, pillars, clusters, config);
  }
};

Segmenter::Segmenter(const std::string& model, int num_threads, Extras extras) {
  const ModelFiles files = read_model_files(model);
  check_classes(model, files.config, extras);
  parts_.reset(new Parts{files.config, extras, load_network(model, files, num_threads)});
}

Segmenter::~Segmenter() = default;
Segmenter::Segmenter(Segmenter&&) noexcept = default;
Segmenter& Segmenter::operator=(Segmenter&&) noexcept = default;

Result Segmenter::segment(const Point* points, std::size_t num_points) {
  if (num_points > INT_MAX) {
    throw std::runtime_error("a sweep of " + std::to_string(num_points) +
                             " points is too large; cut it into parts");
  }
  const Config& config = parts_->config;
  Pillars pillars = voxelize(points, num_points, config.grid);
  if (config.relative_intensity) {
    const std::vector<Point> scaled = with_relative_intensity(points, num_points, pillars);
    pillars = voxelize(scaled.data(), num_points, config.grid);
  }
  Result result = parts_->find_known(points, pillars);
  if (parts_->extras.unknown) add_unknown(result, points, pillars, config);
  if (parts_->extras.ground) result.ground = find_ground(pillars, result.labels);
  result.warnings = find_warnings(points, pillars, config.grid);
  return result;
}

std::vector<std::string> Segmenter::class_names() const {
  std::vector<std::string> names;
  for (const ClassConfig& each : parts_->config.classes) names.push_back(each.name);
  if (parts_->extras.unknown) names.push_back(kUnknownName);
  return names;
}

}  // namespace bev_instseg
