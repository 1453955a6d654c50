#include "join.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "groups.hpp"

namespace bev_instseg {
namespace {

constexpr double kMaxGapM = 15;         // from one piece to the next
constexpr double kMaxAsideM = 0.8;      // from the line through a piece to the next one's near end,
constexpr double kAsidePerM = 0.05;     // and this much more for each metre of the gap
constexpr double kMaxBesideM = 0.35;    // the same for a piece beside this one
constexpr double kMinCosine = 0.9800665778412416;  // cos 0.2, of the angle between two pieces

struct Vector {
  double x, y;
};

double dot(Vector a, Vector b) { return a.x * b.x + a.y * b.y; }

struct Piece {
  std::int32_t cluster;
  Vector along;           // direction in which the precision is lowest, a unit vector
  Vector middle{0, 0};    // metres
  double half_m = 0;
};

Vector direction(const float* precision) {
  const double xx = precision[0], xy = precision[1], yy = precision[2];
  const double size = std::sqrt((xx - yy) * (xx - yy) + 4 * xy * xy);
  const double cosine = size > 0 ? (xx - yy) / size : 1;
  const double x = -std::sqrt(std::max(1 - cosine, 0.0) / 2);
  return {xy < 0 ? -x : x, std::sqrt(std::max(1 + cosine, 0.0) / 2)};
}

/// Fill in the middle and half length of each piece.
void measure(std::vector<Piece>& pieces, const Clusters& clusters,
             const std::vector<std::array<float, 2>>& centres_m) {
  std::vector<Piece*> piece_of(clusters.classes.size() + 1, nullptr);
  for (Piece& piece : pieces) piece_of[piece.cluster + 1] = &piece;
  std::vector<double> size(clusters.classes.size() + 1);
  std::vector<double> low(size.size(), std::numeric_limits<double>::infinity());
  std::vector<double> high(size.size(), -std::numeric_limits<double>::infinity());
  for (std::size_t p = 0; p < clusters.labels.size(); ++p) {
    Piece* piece = piece_of[clusters.labels[p]];
    if (!piece) continue;
    piece->middle.x += centres_m[p][0];
    piece->middle.y += centres_m[p][1];
    size[clusters.labels[p]] += 1;
  }
  for (Piece& piece : pieces) {
    piece.middle.x /= size[piece.cluster + 1];
    piece.middle.y /= size[piece.cluster + 1];
  }
  for (std::size_t p = 0; p < clusters.labels.size(); ++p) {
    const std::int32_t k = clusters.labels[p];
    if (!piece_of[k]) continue;
    const Vector& mean = piece_of[k]->middle;
    const double reach =
        dot({centres_m[p][0] - mean.x, centres_m[p][1] - mean.y}, piece_of[k]->along);
    low[k] = std::min(low[k], reach);
    high[k] = std::max(high[k], reach);
  }
  for (Piece& piece : pieces) {
    const std::size_t k = piece.cluster + 1;
    piece.middle.x += piece.along.x * ((low[k] + high[k]) / 2);
    piece.middle.y += piece.along.y * ((low[k] + high[k]) / 2);
    piece.half_m = (high[k] - low[k]) / 2;
  }
}

struct Gap {
  double ahead_m;  // how far the other piece begins ahead of this one
  double aside_m;  // distance of its near end from the line through this one

  Gap(const Piece& piece, const Piece& other) {
    const Vector apart{other.middle.x - piece.middle.x, other.middle.y - piece.middle.y};
    ahead_m = std::abs(dot(apart, piece.along)) - piece.half_m -
              other.half_m * std::abs(dot(piece.along, other.along));
    const double back = dot(apart, other.along) > 0 ? -other.half_m : other.half_m;
    const double x = apart.x + back * other.along.x, y = apart.y + back * other.along.y;
    aside_m = std::abs(x * piece.along.y - y * piece.along.x);
  }

  double limit_m() const { return ahead_m < 0 ? kMaxBesideM : kMaxAsideM + kAsidePerM * ahead_m; }
};

bool continue_each_other(const Piece& piece, const Piece& other) {
  if (!(std::abs(dot(piece.along, other.along)) > kMinCosine)) return false;
  const Gap there(piece, other), back(other, piece);
  return std::max(there.ahead_m, back.ahead_m) < kMaxGapM &&
         std::max(there.aside_m, back.aside_m) < std::min(there.limit_m(), back.limit_m());
}

}  // namespace

Clusters join_pieces(const Clusters& clusters, const Embeddings& embeddings,
                     const std::vector<std::array<float, 2>>& centres_m, const Config& config) {
  const std::size_t count = clusters.classes.size();
  std::vector<Piece> pieces;
  for (std::size_t k = 0; k < count; ++k) {
    if (!config.classes[clusters.classes[k]].in_pieces) continue;
    const float* precision = embeddings.precision + 3 * clusters.openers[k];
    pieces.push_back({static_cast<std::int32_t>(k), direction(precision)});
  }
  measure(pieces, clusters, centres_m);
  Groups groups(count);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (clusters.classes[pieces[i].cluster] == clusters.classes[pieces[j].cluster] &&
          continue_each_other(pieces[i], pieces[j])) {
        groups.join(pieces[i].cluster, pieces[j].cluster);
      }
    }
  }
  std::vector<double> size(count), seeds(count), pillars(count);
  for (const std::int32_t label : clusters.labels) {
    if (label > 0) size[label - 1] += 1;
  }
  Clusters joined;
  std::vector<std::int32_t> number(count + 1);
  for (std::size_t k = 0; k < count; ++k) {
    const auto first = static_cast<std::size_t>(groups.find(static_cast<std::int32_t>(k)));
    if (first == k) {
      joined.classes.push_back(clusters.classes[k]);
      joined.openers.push_back(clusters.openers[k]);
      number[k + 1] = static_cast<std::int32_t>(joined.classes.size());
    }
    number[k + 1] = number[first + 1];
    seeds[number[k + 1] - 1] += size[k] * clusters.scores[k];
    pillars[number[k + 1] - 1] += size[k];
  }
  for (std::size_t n = 0; n < joined.classes.size(); ++n) {
    joined.scores.push_back(static_cast<float>(seeds[n] / pillars[n]));
  }
  joined.labels = clusters.labels;
  for (std::int32_t& label : joined.labels) label = number[label];
  return joined;
}

}  // namespace bev_instseg
