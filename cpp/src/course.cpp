#include "course.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace bev_instseg {
namespace {

constexpr double kStepM = 0.5;  // points within one square of this size become one vertex
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Position = std::array<double, 3>;  // x, y, z

/// Return the mean position of the points in each square, by ascending x and y of the squares.
std::vector<Position> vertices_of(const std::vector<Point>& points) {
  struct Sum {
    Position sum{};
    double count = 0;
  };
  std::map<std::pair<double, double>, Sum> squares;
  for (const Point& point : points) {
    Sum& own = squares[{std::floor(point.x / kStepM), std::floor(point.y / kStepM)}];
    own.sum[0] += point.x;
    own.sum[1] += point.y;
    own.sum[2] += point.z;
    own.count += 1;
  }
  std::vector<Position> vertices;
  for (const auto& [square, own] : squares) {
    vertices.push_back({own.sum[0] / own.count, own.sum[1] / own.count, own.sum[2] / own.count});
  }
  return vertices;
}

double distance(const Position& a, const Position& b) {
  const double x = a[0] - b[0], y = a[1] - b[1];
  return std::sqrt(x * x + y * y);
}

struct Edge {
  std::size_t to;
  double length_m;
};

using Tree = std::vector<std::vector<Edge>>;  // the edges of each vertex

/// Return the tree of the smallest total length, seen from above, by Prim's method.
Tree smallest_tree(const std::vector<Position>& vertices) {
  Tree tree(vertices.size());
  std::vector<double> nearest(vertices.size(), kInfinity);
  std::vector<std::size_t> from(vertices.size(), 0);
  std::vector<bool> inside(vertices.size(), false);
  std::size_t last = 0;
  for (std::size_t step = 1; step < vertices.size(); ++step) {
    inside[last] = true;
    std::size_t next = last;
    for (std::size_t v = 0; v < vertices.size(); ++v) {
      if (inside[v]) continue;
      const double length_m = distance(vertices[last], vertices[v]);
      if (length_m < nearest[v]) {
        nearest[v] = length_m;
        from[v] = last;
      }
      if (inside[next] || nearest[v] < nearest[next]) next = v;
    }
    tree[from[next]].push_back({next, nearest[next]});
    tree[next].push_back({from[next], nearest[next]});
    last = next;
  }
  return tree;
}

/// The distance of each vertex from the start along the tree, and the vertex before it on the way.
struct Ways {
  std::vector<double> distance_m;
  std::vector<std::size_t> before;

  Ways(const Tree& tree, std::size_t start)
      : distance_m(tree.size(), kInfinity), before(tree.size(), start) {
    std::vector<std::size_t> pending = {start};
    distance_m[start] = 0;
    while (!pending.empty()) {
      const std::size_t v = pending.back();
      pending.pop_back();
      for (const Edge& edge : tree[v]) {
        if (distance_m[edge.to] < kInfinity) continue;
        distance_m[edge.to] = distance_m[v] + edge.length_m;
        before[edge.to] = v;
        pending.push_back(edge.to);
      }
    }
  }

  std::size_t farthest() const {
    return std::max_element(distance_m.begin(), distance_m.end()) - distance_m.begin();
  }
};

}  // namespace

std::vector<Vertex> course(const std::vector<Point>& points) {
  const std::vector<Position> vertices = vertices_of(points);
  const Tree tree = smallest_tree(vertices);
  const std::size_t start = Ways(tree, 0).farthest();
  const Ways ways(tree, start);
  std::vector<std::size_t> way = {ways.farthest()};
  while (way.back() != start) way.push_back(ways.before[way.back()]);
  if (vertices[way.front()] > vertices[way.back()]) std::reverse(way.begin(), way.end());
  std::vector<Vertex> line;
  for (const std::size_t v : way) {
    const auto& [x, y, z] = vertices[v];
    line.push_back({static_cast<float>(x), static_cast<float>(y), static_cast<float>(z)});
  }
  return line;
}

}  // namespace bev_instseg
