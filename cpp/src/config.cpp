#include "config.hpp"

#include <climits>
#include <cmath>
#include <stdexcept>

namespace bev_instseg {
namespace {

struct Range {
  double low, high;
};

Range read_range(const Json& sidecar, const std::string& name) {
  const Json::Array& ends = sidecar.at(name).array(name);
  if (ends.size() != 2) throw std::runtime_error(name + " is not two numbers");
  const Range range{ends[0].number(name), ends[1].number(name)};
  if (!(range.low < range.high)) throw std::runtime_error(name + " is not increasing");
  return range;
}

int count_cells(const Range& range, double cell_m, const std::string& name) {
  const double cells = (range.high - range.low) / cell_m;
  if (!(cells < INT_MAX) || std::abs(cells - std::round(cells)) > 1e-6) {
    throw std::runtime_error(name + " is not a whole number of cells");
  }
  return static_cast<int>(std::lround(cells));
}

int count_levels(const Json& sidecar) {
  const std::string widths = "config.model.widths";
  const std::size_t count = sidecar.at(widths).array(widths).size();
  if (count < 3 || count > 16) throw std::runtime_error(widths + " does not have 3 to 16 levels");
  return static_cast<int>(count);
}

int read_sparse_levels(const Json& sidecar) {
  const std::string dense = "config.model.dense_levels";
  const int count = count_levels(sidecar) - sidecar.at(dense).whole_number(dense);
  if (count < 1 || count >= count_levels(sidecar)) {
    throw std::runtime_error(dense + " is not less than the number of levels, or less than 1");
  }
  return count;
}

Grid read_grid(const Json& sidecar) {
  const double cell_m = sidecar.at("config.grid.cell_m").number("config.grid.cell_m");
  if (!(cell_m > 0)) throw std::runtime_error("config.grid.cell_m is not positive");
  const std::string x_name = "config.grid.x_range_m", y_name = "config.grid.y_range_m";
  const Range x = read_range(sidecar, x_name), y = read_range(sidecar, y_name);
  const Range z = read_range(sidecar, "config.grid.z_range_m");
  const int nx = count_cells(x, cell_m, x_name), ny = count_cells(y, cell_m, y_name);
  const int stride = 1 << (count_levels(sidecar) - 1);
  if (nx % stride || ny % stride || static_cast<double>(nx) * ny > INT_MAX) {
    throw std::runtime_error("config.grid: " + std::to_string(nx) + " x " + std::to_string(ny) +
                             " cells are too many, or not multiples of " + std::to_string(stride));
  }
  return {x.low, y.low, z.low, z.high, cell_m, nx, ny};
}

ClassConfig read_class(const Json& json, const std::string& name) {
  const auto whole = [&](const char* key) { return json.at(key).whole_number(name + "." + key); };
  const int label = whole("label");
  if (label < 1 || label > 0xFFFF) throw std::runtime_error(name + ".label is not in 1..65535");
  const double max_height_m = json.at("max_height_m").number(name + ".max_height_m");
  for (const auto& [key, value] : std::get<Json::Object>(json.value)) {
    if (key == "piece_m" && value.number(name + ".piece_m") > 0) {
      throw std::runtime_error(name + ".piece_m: joining pieces is not implemented in C++");
    }
  }
  return {json.at("name").text(name + ".name"), label, whole("min_points"),
          static_cast<float>(max_height_m)};
}

std::array<double, 3> read_coefficients(const Json& json, const std::string& name) {
  const Json::Array& found = json.array(name);
  if (found.size() != 3) throw std::runtime_error(name + " is not three numbers for each class");
  return {found[0].number(name), found[1].number(name), found[2].number(name)};
}

}  // namespace

Config read_config(const Json& sidecar) {
  Config config;
  config.grid = read_grid(sidecar);
  config.sparse_levels = read_sparse_levels(sidecar);
  const std::string classes = "config.classes", calibration = "config.cluster.calibration";
  for (const Json& json : sidecar.at(classes).array(classes)) {
    config.classes.push_back(read_class(json, classes));
  }
  if (config.classes.empty()) throw std::runtime_error(classes + " is empty");
  const auto threshold = [&](const std::string& key) {
    const std::string name = "config.cluster." + key;
    return sidecar.at(name).number(name);
  };
  config.seed_threshold = static_cast<float>(threshold("seed_threshold"));
  config.member_threshold = static_cast<float>(threshold("member_threshold"));
  config.min_free = threshold("min_free");
  config.min_height_m = static_cast<float>(threshold("min_height_m"));
  config.score_threshold = static_cast<float>(threshold("score_threshold"));
  for (const Json& json : sidecar.at(calibration).array(calibration)) {
    config.calibration.push_back(read_coefficients(json, calibration));
  }
  if (!config.calibration.empty() && config.calibration.size() != config.classes.size()) {
    throw std::runtime_error(calibration + " does not have one entry per class");
  }
  return config;
}

}  // namespace bev_instseg
