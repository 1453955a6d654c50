#include "network.hpp"

#include <cstring>
#include <map>

namespace bev_instseg {

Network::Network(const std::string& model, const std::string& weights, const Config& config,
                 int num_threads)
    : map_shape_{1, std::size_t(config.grid.nx >> config.sparse_levels),
                 std::size_t(config.grid.ny >> config.sparse_levels)} {
  ov::Core core;
  ov::Tensor constants;
  if (!weights.empty()) {
    constants = ov::Tensor(ov::element::u8, {weights.size()});
    std::memcpy(constants.data(), weights.data(), weights.size());
  }
  const auto network = core.read_model(model, constants);
  std::map<std::string, ov::PartialShape> shapes;
  for (const auto& each : network->inputs()) shapes[each.get_any_name()] = each.get_partial_shape();
  shapes["rows"] = map_shape_;  // compiled for one size of maps, which is faster
  network->reshape(shapes);
  num_classes_ = network->output("seed").get_partial_shape()[1].get_length();
  ov::AnyMap options{ov::num_streams(1), ov::hint::inference_precision(ov::element::f32)};
  if (num_threads > 0) options.insert(ov::inference_num_threads(num_threads));
  request_ = core.compile_model(network, "CPU", options).create_infer_request();
}

Embeddings Network::infer(NetworkInput& input, std::size_t num_pillars) {
  const auto floats = [&](const char* name, std::size_t columns, auto& rows) {
    request_.set_tensor(name, ov::Tensor(ov::element::f32, {rows.size(), columns}, rows.data()));
  };
  const auto indices = [&](const std::string& name, ov::Shape shape, auto& values) {
    request_.set_tensor(name, ov::Tensor(ov::element::i32, shape, values.data()));
  };
  floats("features", kNumFeatures, input.features);
  floats("centres_m", 2, input.centres_m);
  for (std::size_t n = 0; n < input.levels.size(); ++n) {
    CellNeighbours& level = input.levels[n];
    const std::string suffix = "_" + std::to_string(n);
    indices("neighbours" + suffix, {level.neighbours.size() / kTaps, kTaps}, level.neighbours);
    indices("slot" + suffix, {level.slot.size()}, level.slot);
    indices("children" + suffix, {level.children.size() / kQuarters, kQuarters}, level.children);
  }
  indices("rows", map_shape_, input.rows);
  indices("cells", {input.cells.size()}, input.cells);
  request_.infer();
  const auto output = [&](const char* name) {
    return request_.get_tensor(name).data<const float>();
  };
  return {num_pillars, num_classes_, output("centre_m"), output("precision"), output("seed")};
}

}  // namespace bev_instseg
