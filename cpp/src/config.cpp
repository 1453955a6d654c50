#include "config.hpp"

#include <algorithm>
#include <climits>
#include <cmath>
#include <initializer_list>
#include <stdexcept>
#include <string_view>

namespace bev_instseg {
namespace {

constexpr int kMax = 1'000'000'000;  // limit of numbers that have no natural one

/// Refuse keys that are not known: results might depend on them.
void check_keys(const Json& json, const std::string& name,
                std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : json.object(name)) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw std::runtime_error(name + "." + key + " is not a setting of this version");
    }
  }
}

double number_in(const Json& json, const std::string& name, int low, int high) {
  const double found = json.number(name);
  if (found < low || found > high) {
    throw std::runtime_error(name + " is not in " + std::to_string(low) + ".." +
                             std::to_string(high));
  }
  return found;
}

double positive_number(const Json& json, const std::string& name) {
  const double found = number_in(json, name, 0, kMax);
  if (found == 0) throw std::runtime_error(name + " is not positive");
  return found;
}

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
  check_keys(sidecar.at("config.grid"), "config.grid",
             {"x_range_m", "y_range_m", "z_range_m", "cell_m"});
  const double cell_m = positive_number(sidecar.at("config.grid.cell_m"), "config.grid.cell_m");
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
  check_keys(json, name, {"name", "label", "kitti", "semantickitti", "min_points", "max_height_m",
                          "piece_m"});
  const auto whole = [&](const char* key, int low, int high) {
    number_in(json.at(key), name + "." + key, low, high);
    return json.at(key).whole_number(name + "." + key);
  };
  const Json* piece_m = json.find("piece_m");  // older files have none
  return {json.at("name").text(name + ".name"), whole("label", 1, 0xFFFF),
          whole("min_points", 0, kMax),
          static_cast<float>(positive_number(json.at("max_height_m"), name + ".max_height_m")),
          piece_m && number_in(*piece_m, name + ".piece_m", 0, kMax) > 0};
}

/// Append the classes; each has its own name and label.
void read_classes(const Json& sidecar, std::vector<ClassConfig>& classes) {
  const std::string name = "config.classes";
  for (const Json& json : sidecar.at(name).array(name)) {
    const ClassConfig read = read_class(json, name);
    for (const ClassConfig& other : classes) {
      if (other.name == read.name || other.label == read.label) {
        throw std::runtime_error(name + ": two have the name " + read.name + " or the label " +
                                 std::to_string(read.label));
      }
    }
    classes.push_back(read);
  }
  if (classes.empty()) throw std::runtime_error(name + " is empty");
}

std::array<double, 3> read_coefficients(const Json& json, const std::string& name) {
  const Json::Array& found = json.array(name);
  if (found.size() != 3) throw std::runtime_error(name + " is not three numbers for each class");
  return {found[0].number(name), found[1].number(name), found[2].number(name)};
}

}  // namespace

Config read_config(const Json& sidecar) {
  Config config;
  check_keys(sidecar.at("config"), "config",
             {"grid", "classes", "data", "model", "loss", "cluster", "augment", "train"});
  check_keys(sidecar.at("config.cluster"), "config.cluster",
             {"seed_threshold", "member_threshold", "min_free", "min_height_m", "calibration",
              "score_threshold"});
  check_keys(sidecar.at("config.model"), "config.model",
             {"widths", "blocks", "bandwidth", "initial_margin_m", "fixed_sigma_m", "dense_levels",
              "relative_intensity"});
  config.grid = read_grid(sidecar);
  const Json* relative =
      sidecar.at("config.model").find("relative_intensity");  // not in older files
  config.relative_intensity = relative && relative->boolean("config.model.relative_intensity");
  config.sparse_levels = read_sparse_levels(sidecar);
  read_classes(sidecar, config.classes);
  const auto fraction = [&](const std::string& key) {
    const std::string name = "config.cluster." + key;
    return number_in(sidecar.at(name), name, 0, 1);
  };
  config.seed_threshold = static_cast<float>(fraction("seed_threshold"));
  config.member_threshold = static_cast<float>(fraction("member_threshold"));
  config.min_free = fraction("min_free");
  config.score_threshold = static_cast<float>(fraction("score_threshold"));
  const std::string min_height_m = "config.cluster.min_height_m";
  config.min_height_m = static_cast<float>(sidecar.at(min_height_m).number(min_height_m));
  const std::string calibration = "config.cluster.calibration";
  for (const Json& json : sidecar.at(calibration).array(calibration)) {
    config.calibration.push_back(read_coefficients(json, calibration));
  }
  if (!config.calibration.empty() && config.calibration.size() != config.classes.size()) {
    throw std::runtime_error(calibration + " does not have one entry per class");
  }
  return config;
}

}  // namespace bev_instseg
