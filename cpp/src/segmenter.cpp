#include "bev_instseg/segmenter.hpp"

#include <algorithm>
#include <climits>
#include <stdexcept>

#include "assemble.hpp"
#include "cluster.hpp"
#include "model_files.hpp"
#include "network.hpp"
#include "network_input.hpp"
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

}  // namespace

struct Segmenter::Parts {
  Config config;
  Network network;
};

Segmenter::Segmenter(const std::string& model, int num_threads) {
  const ModelFiles files = read_model_files(model);
  parts_.reset(new Parts{files.config, load_network(model, files, num_threads)});
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
  const Pillars pillars = voxelize(points, num_points, config.grid);
  if (pillars.cells.empty()) return {std::vector<std::int32_t>(num_points), {}};
  NetworkInput input = make_network_input(pillars, config.grid, config.sparse_levels);
  const Embeddings embeddings = parts_->network.infer(input, pillars.cells.size());
  return assemble(points, pillars, cluster(embeddings, config), config);
}

std::vector<std::string> Segmenter::class_names() const {
  std::vector<std::string> names;
  for (const ClassConfig& each : parts_->config.classes) names.push_back(each.name);
  return names;
}

}  // namespace bev_instseg
