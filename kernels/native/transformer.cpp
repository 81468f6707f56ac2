// The forward pass of a Llama or a Qwen2 of 8-bit weights, for processors with AVX2, faster with AVX-512. Contract:
// `Transformer` in engine_kernels/_native.pyi; definition: engine_kernels/transformer_reference.py; why:
// docs/decisions/0016-a-forward-pass-of-our-own.md.
//
// Every sum is taken in an order that depends on the row and on the token's path alone. So a row is the same bit for
// bit, whatever else stands in the batch, however the chunks fall to threads, and wherever its path's cells lie.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define MIDWORD_AVX2 1
#include "attention.h"
#include "instructions.h"
#include "plan.h"
#include "products.h"
#include "rotation.h"
#include "rows.h"
#include "team.h"
#endif

namespace nb = nanobind;

namespace {

#ifdef MIDWORD_AVX2

template <typename T> using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

struct Layer {
    Aligned<float> attention_norm, feed_norm;
    Matrix projections;                   // queries, keys, values
    std::vector<float> projection_biases; // none, or one for each of their rows
    Matrix output;
    Matrix gates; // by turns BLOCK rows of the gate, BLOCK rows that it lets through
    Matrix down;

    Layer(int width, int attended, int kept, int hidden, Arena &arena)
        : attention_norm(width), feed_norm(width), projections(attended + 2 * kept, width, arena),
          output(width, attended, arena), gates(2 * hidden, width, arena), down(width, hidden, arena) {}
};

class Transformer {
  public:
    Transformer(int layer_count, int width, int heads, int kv_heads, int dimension, int hidden, int vocab,
                float epsilon, float rope_base, bool rotates_halves, int cells, int kept, int largest_batch, int threads,
                const std::string &instructions)
        : width(width), heads(heads), kv_heads(kv_heads), dimension(dimension), hidden(hidden), vocab(vocab),
          epsilon(epsilon), rotation{dimension, rope_base, rotates_halves}, largest_batch(largest_batch),
          is_wide(instructions == WIDE), team(threads), plan(cells, kept), cache(layer_count, kv_heads, cells, dimension),
          embedding(padded(vocab), width, arena), last_norm(width),
          residual(size_t(largest_batch) * width),
          projected(size_t(largest_batch) * (heads + 2 * kv_heads) * dimension),
          turns(size_t(largest_batch) * dimension), query_scales(size_t(largest_batch) * heads), logits(0),
          queries(size_t(largest_batch) * heads * dimension), normed(largest_batch, width),
          attended(largest_batch, heads * dimension), gated(largest_batch, hidden) {
        require(layer_count > 0 && width % BLOCK == 0 && hidden % BLOCK == 0 && dimension % BLOCK == 0 && kv_heads > 0 &&
                    heads % kv_heads == 0 && cells > 0 && kept >= 0 && threads > 0,
                "sizes that this forward pass cannot do");
        const std::vector<std::string> able = ::instructions();
        require(std::find(able.begin(), able.end(), instructions) != able.end(), "instructions that this processor does not have");
        for (int i = 0; i < layer_count; ++i) layers.emplace_back(width, heads * dimension, kv_heads * dimension, hidden, arena);
        scratch.resize(threads);
        viewers.resize(threads);
    }

    static size_t cell_bytes(int layers, int kv_heads, int dimension) { return Cache::cell_bytes(layers, kv_heads, dimension); }

    // -- weights ------------------------------------------------------------------------------------------------------

    // Takes the weights of a norm, or what is added to queries, keys or values.
    void set_vector(int layer, const std::string &name, In<float> numbers) {
        const int attended_rows = heads * dimension, kept = kv_heads * dimension;
        if (name == "output_norm") return fill(last_norm.data(), numbers, width);
        if (name == "attn_norm") return fill(layers.at(layer).attention_norm.data(), numbers, width);
        if (name == "ffn_norm") return fill(layers.at(layer).feed_norm.data(), numbers, width);
        if (name == "attn_q.bias") return fill(biases(layer), numbers, attended_rows);
        if (name == "attn_k.bias") return fill(biases(layer) + attended_rows, numbers, kept);
        if (name == "attn_v.bias") return fill(biases(layer) + attended_rows + kept, numbers, kept);
        throw nb::value_error("a vector of unknown name");
    }

    // Takes a matrix as the bytes of its blocks in the file.
    void set_matrix(int layer, const std::string &name, In<uint8_t> bytes) {
        const int attended_rows = heads * dimension, kept = kv_heads * dimension, unit = BLOCK / ROWS;
        if (name == "attn_q") return fill(layers.at(layer).projections, bytes, attended_rows, 0, 1, 1);
        if (name == "attn_k") return fill(layers.at(layer).projections, bytes, kept, attended_rows / ROWS, 1, 1);
        if (name == "attn_v")
            return fill(layers.at(layer).projections, bytes, kept, (attended_rows + kept) / ROWS, 1, 1);
        if (name == "attn_output") return fill(layers.at(layer).output, bytes, width, 0, 1, 1);
        if (name == "ffn_gate") return fill(layers.at(layer).gates, bytes, hidden, 0, unit, 2 * unit);
        if (name == "ffn_up") return fill(layers.at(layer).gates, bytes, hidden, unit, unit, 2 * unit);
        if (name == "ffn_down") return fill(layers.at(layer).down, bytes, width, 0, 1, 1);
        if (name == "token_embd") return fill(embedding, bytes, vocab, 0, 1, 1);
        if (name == "output") {
            head = std::make_unique<Matrix>(padded(vocab), width, arena);
            return fill(*head, bytes, vocab, 0, 1, 1);
        }
        throw nb::value_error("a matrix of unknown name");
    }

    // -- evaluating ---------------------------------------------------------------------------------------------------

    int used_cells() const { return plan.used_cells(); }

    int begin(nb::handle context, nb::handle tokens, nb::handle parents, nb::handle wanted) {
        read(context, 0, vocab, "a token that is none", question.context);
        read(tokens, 0, vocab, "a token that is none", question.tokens);
        const int nodes = int(question.tokens.size());
        read(parents, -1, nodes, "a parent that is none", question.parents);
        read(wanted, -1, nodes, "a wanted node that is none", question.wanted);
        plan.begin(question);
        give_back_memory();
        return plan.left();
    }

    nb::object evaluate(int most, In<uint8_t> flag) {
        const int count = std::min(most, plan.left());
        require(count > 0 && count <= largest_batch && flag.size() > 0, "nothing to evaluate, or too much at once");
        const Step *steps = plan.next();
        asked.clear();
        for (int i = 0; i < count; ++i)
            if (steps[i].is_wanted) asked.push_back(i);
        if (asked.size() > logit_rows) {
            logit_rows = asked.size();
            logits = Aligned<float>(logit_rows * padded(vocab));
        }
        bool is_done;
        {
            nb::gil_scoped_release released;
            is_done = forward(steps, count, flag.data());
        }
        if (!is_done) {
            plan.give_up_rest();
            return nb::none();
        }
        plan.evaluated(count);
        std::vector<rows::Blocks::Owned> found;
        for (size_t row = 0; row < asked.size(); ++row) found.push_back(rows::blocks().take(vocab));
        std::vector<rows::Glance> glances;
        {
            nb::gil_scoped_release released;
            glances = take_logs(found);
        }
        nb::list result;
        for (size_t row = 0; row < found.size(); ++row)
            result.append(rows::fresh_row(std::move(found[row]), vocab, std::move(glances[row])));
        return result;
    }

    nb::list alike(nb::handle path) {
        read(path, 0, vocab, "a token that is none", compared);
        const std::vector<int32_t> cells = plan.resident(compared);
        const int last = int(compared.size()) - 1;
        nb::list found;
        if (last < 1 || int(cells.size()) < last) return found;
        get_values(cells[last - 1], values_at_end);
        for (int at = 1; at < last; ++at) {
            if (compared[at] != compared[last]) continue;
            get_values(cells[at - 1], values);
            found.append(nb::make_tuple(at, cosine(values, values_at_end)));
        }
        return found;
    }

  private:
    static void fill(float *to, In<float> numbers, int count) {
        require(int(numbers.size()) == count, "a vector of another size");
        std::memcpy(to, numbers.data(), count * sizeof(float));
    }

    float *biases(int layer) {
        std::vector<float> &all = layers.at(layer).projection_biases;
        all.resize((heads + 2 * kv_heads) * dimension);
        return all.data();
    }

    static int padded(int rows) { return (rows + ROWS - 1) / ROWS * ROWS; }

    // Rows of a file's matrix into groups: `run` of them from `first` on, then again `step` further.
    void fill(Matrix &matrix, In<uint8_t> bytes, int rows, int first, int run, int step) {
        const size_t row_bytes = size_t(matrix.blocks) * FILE_BLOCK;
        require(bytes.size() == rows * row_bytes, "a matrix of another size");
        const int groups = (rows + ROWS - 1) / ROWS;
        const uint8_t *file = bytes.data();
        nb::gil_scoped_release released;
        team.run((groups + 63) / 64, [&](int chunk, int) {
            for (int group = chunk * 64; group < std::min(groups, chunk * 64 + 64); ++group) {
                const int to = first + group / run * step + group % run;
                if ((group + 1) * ROWS <= rows) {
                    matrix.fill(to, file + size_t(group) * ROWS * row_bytes);
                } else { // the last rows, and rows of nothing
                    std::vector<uint8_t> last(ROWS * row_bytes);
                    std::memcpy(last.data(), file + size_t(group) * ROWS * row_bytes,
                                (rows - group * ROWS) * row_bytes);
                    matrix.fill(to, last.data());
                }
            }
        });
    }

    // Integers of a Python sequence, all in [first, end).
    static void read(nb::handle sequence, int first, int end, const char *otherwise, std::vector<int32_t> &to) {
        const nb::object items = nb::steal(PySequence_Fast(sequence.ptr(), "a sequence of integers is expected"));
        if (!items.is_valid()) throw nb::python_error();
        const Py_ssize_t count = PySequence_Fast_GET_SIZE(items.ptr());
        PyObject **numbers = PySequence_Fast_ITEMS(items.ptr());
        to.resize(count);
        for (Py_ssize_t i = 0; i < count; ++i) {
            const long number = PyLong_AsLong(numbers[i]);
            if (number == -1 && PyErr_Occurred()) throw nb::python_error();
            require(number >= first && number < end, otherwise);
            to[i] = int32_t(number);
        }
    }

    // What a cell holds as values in the layer that is compared.
    void get_values(int cell, std::vector<float> &to) const {
        to.resize(kv_heads * dimension);
        for (int head = 0; head < kv_heads; ++head)
            cache.head(int(layers.size()) * 2 / 3, head).get_value(cache.group(cell), cell % LANES, to.data() + head * dimension);
    }

    static float cosine(const std::vector<float> &a, const std::vector<float> &b) {
        const auto product = [](const auto &a, const auto &b) { return dot_product(a.data(), b.data(), int(a.size())); };
        const float each = product(a, a) * product(b, b);
        return each > 0 ? product(a, b) / std::sqrt(each) : 0.0f;
    }

    // Of cells beyond those in use, once they are many: a text may be longer than all that is kept.
    void give_back_memory() {
        const int end = plan.end_of_cells();
        if (touched - end >= WORTH_RELEASING) {
            cache.release(end, touched);
            touched = end;
        }
        touched = std::max(touched, end);
    }

    template <bool ADDS>
    void times(const Matrix &matrix, int first_group, int groups, const Quantized &input, int tokens, float *output, size_t stride) {
        (is_wide ? multiply<Wide, ADDS> : multiply<Narrow, ADDS>)(matrix, first_group, groups, input, tokens, output, stride);
    }

    // Groups of rows of a matrix times `input`, by the whole team.
    template <bool ADDS>
    void multiply_all(const Matrix &matrix, const Quantized &input, int tokens, float *output, size_t stride) {
        const int groups = matrix.groups(), chunk_groups = std::max(1, groups / (8 * team.size()));
        team.run((groups + chunk_groups - 1) / chunk_groups, [&](int chunk, int) {
            const int first = chunk * chunk_groups;
            times<ADDS>(matrix, first, std::min(chunk_groups, groups - first), input, tokens, output + first * ROWS, stride);
        });
    }

    // Calls work(token) for each, a few at a time.
    template <typename Work> void each_token(int tokens, const Work &work) {
        team.run((tokens + 7) / 8, [&](int chunk, int) {
            for (int token = chunk * 8; token < std::min(tokens, chunk * 8 + 8); ++token) work(token);
        });
    }

    bool forward(const Step *steps, int count, const uint8_t *flag) {
        find_routes(steps, count);
        each_token(count, [&](int token) {
            embedding.row(steps[token].token, residual.data() + size_t(token) * width);
            rotation.turn(steps[token].position, turns.data() + size_t(token) * dimension);
        });
        for (int number = 0; number < int(layers.size()); ++number) {
            if (*static_cast<const volatile uint8_t *>(flag)) return false;
            const Layer &layer = layers[number];
            norm(layer.attention_norm, count);
            project(number, steps, count);
            attend_all(number, steps, count);
            multiply_all<true>(layer.output, attended, count, residual.data(), width);
            norm(layer.feed_norm, count);
            gate(layer, count);
            multiply_all<true>(layer.down, gated, count, residual.data(), width);
        }
        for (int i = 0; i < int(asked.size()); ++i)
            normalize(residual.data() + size_t(asked[i]) * width, last_norm.data(), width, epsilon, normed.row(i),
                      normed.scales_of(i));
        multiply_all<false>(head ? *head : embedding, normed, int(asked.size()), logits.data(), padded(vocab));
        return true;
    }

    // The logits' natural log-probabilities, as `log_softmax` computes them, and what they tell at a glance. A chunk is
    // PIECE numbers of a row.
    std::vector<rows::Glance> take_logs(std::vector<rows::Blocks::Owned> &to) {
        constexpr size_t PIECE = 8 * rows::BLOCK;
        const size_t pieces = (vocab + PIECE - 1) / PIECE, blocks = rows::blocks_of(vocab);
        std::vector<double> peaks(to.size() * pieces), sums(to.size() * blocks), totals;
        const auto each_piece = [&](const auto &work) {
            team.run(int(to.size() * pieces), [&](int chunk, int) {
                const size_t row = chunk / pieces, piece = chunk % pieces, start = piece * PIECE;
                work(row, piece, start, std::min(PIECE, vocab - start), logits.data() + row * padded(vocab) + start);
            });
        };
        each_piece([&](size_t row, size_t piece, size_t, size_t count, const float *values) {
            peaks[row * pieces + piece] = rows::greatest(values, count);
        });
        for (size_t row = 0; row < to.size(); ++row)
            peaks[row] = *std::max_element(&peaks[row * pieces], &peaks[row * pieces] + pieces);
        each_piece([&](size_t row, size_t, size_t start, size_t count, const float *values) {
            rows::sums_of_exp(values, count, peaks[row], &sums[row * blocks + start / rows::BLOCK]);
        });
        for (size_t row = 0; row < to.size(); ++row) totals.push_back(rows::log_of_total(&sums[row * blocks], blocks));
        std::vector<rows::Glance> parts(to.size() * pieces), glances(to.size());
        each_piece([&](size_t row, size_t piece, size_t start, size_t count, const float *values) {
            double *logs = to[row].get() + start;
            rows::subtract(values, count, peaks[row], totals[row], logs);
            rows::add_likeliest(values, start, count, peaks[row], logs, parts[row * pieces + piece]);
        });
        for (size_t row = 0; row < to.size(); ++row) {
            for (size_t piece = 0; piece < pieces; ++piece) {
                const rows::Glance &part = parts[row * pieces + piece];
                glances[row].insert(glances[row].end(), part.begin(), part.end());
            }
            if (glances[row].size() >= rows::TOO_MANY) glances[row].clear();
        }
        return glances;
    }

    void norm(const Aligned<float> &weights, int count) {
        each_token(count, [&](int token) {
            normalize(residual.data() + size_t(token) * width, weights.data(), width, epsilon, normed.row(token),
                      normed.scales_of(token));
        });
    }

    // Queries, and keys and values into their cells. A chunk is a head.
    void project(int number, const Step *steps, int count) {
        const Matrix &matrix = layers[number].projections;
        const std::vector<float> &biases = layers[number].projection_biases;
        const int groups = dimension / ROWS;
        const size_t stride = matrix.rows;
        team.run(heads + 2 * kv_heads, [&](int part, int) {
            float *output = projected.data() + size_t(part) * dimension;
            times<false>(matrix, part * groups, groups, normed, count, output, stride);
            for (int token = 0; token < count; ++token) {
                float *numbers = output + token * stride;
                const Cache::Place group = cache.group(steps[token].cell);
                const int lane = steps[token].cell % LANES;
                if (!biases.empty())
                    for (int i = 0; i < dimension; ++i) numbers[i] += biases[part * dimension + i];
                if (part < heads + kv_heads) rotation.rotate(numbers, turns.data() + size_t(token) * dimension);
                if (part < heads)
                    set_query(token, part, numbers);
                else if (part < heads + kv_heads)
                    cache.head(number, part - heads).set_key(group, lane, numbers);
                else
                    cache.head(number, part - heads - kv_heads).set_value(group, lane, numbers);
            }
        });
    }

    // Of a head. The scale has the factor of all scores in it, so that a score is a product of integers times two scales.
    void set_query(int token, int head, const float *numbers) {
        const size_t at = size_t(token) * heads + head;
        const float scale = take_query(numbers, dimension, queries.data() + at * dimension);
        query_scales.data()[at] = scale / std::sqrt(float(dimension));
    }

    // A few tokens at a time. A chunk is the heads that share keys and values, over a segment of the paths.
    void attend_all(int number, const Step *steps, int count) {
        constexpr int TOGETHER = 16;
        for (int first = 0; first < count; first += TOGETHER)
            attend_some(number, steps, first, std::min(count, first + TOGETHER));
    }

    void attend_some(int number, const Step *steps, int first, int end) {
        const Step &longest = *std::max_element(steps + first, steps + end, [](const Step &a, const Step &b) {
            return a.position < b.position;
        });
        const int group = heads / kv_heads, segments = segments_of(longest.position + 1), floats = sight_floats(dimension);
        const size_t apart = size_t(segments) * floats; // of the sights of two heads
        if (sights.size() < (end - first) * heads * apart) sights.resize(2 * (end - first) * heads * apart);
        team.run(kv_heads * segments, [&](int chunk, int thread) {
            const int kv_head = chunk % kv_heads, segment = chunk / kv_heads, begin = segment * SEGMENT;
            std::vector<Viewer> &seeing = viewers[thread];
            seeing.clear();
            for (int token = first; token < end; ++token) {
                const int count = std::min(SEGMENT, steps[token].position + 1 - begin), head = kv_head * group;
                if (count <= 0) continue;
                const Route &route = routes[steps[token].line];
                const size_t at = size_t(token) * heads + head;
                seeing.push_back({queries.data() + at * dimension, query_scales.data() + at, route.segment(segment),
                                  route.stretches_of(segment, count), count,
                                  sights.data() + ((token - first) * heads + head) * apart + segment * floats});
            }
            // What this thread will most likely look at next; nothing new at the end.
            const int next = chunk + team.size() < kv_heads * segments ? chunk + team.size() : chunk;
            const int16_t *coming =
                cache.head(number, next % kv_heads).keys(routes[longest.line].segment(next / kv_heads)->group);
            (is_wide ? see<Wide> : see<Narrow>)(seeing, cache.head(number, kv_head), coming, group, apart, scratch[thread]);
        });
        each_token(end - first, [&](int at) {
            const int token = first + at;
            float *seen = projected.data() + size_t(token) * (heads + 2 * kv_heads) * dimension; // in place of the queries
            for (int head = 0; head < heads; ++head)
                join(sights.data() + (at * heads + head) * apart, segments_of(steps[token].position + 1), dimension,
                     seen + head * dimension);
            quantize(seen, heads * dimension, attended.row(token), attended.scales_of(token));
        });
    }

    // Of the steps' lines, once for all layers and heads.
    void find_routes(const Step *steps, int count) {
        for (Route &route : routes) route.clear();
        for (const Step *step = steps; step < steps + count; ++step) {
            if (step->line >= int(routes.size())) routes.resize(step->line + 1);
            Route &route = routes[step->line];
            const int32_t *cells = plan.path(*step);
            while (route.cells() <= step->position) route.append(cells[route.cells()], cache);
        }
    }

    float *room_of(int thread, size_t floats) {
        if (scratch[thread].size() < floats) scratch[thread].resize(2 * floats);
        return scratch[thread].data();
    }

    // A chunk is BLOCK numbers of the hidden layer.
    void gate(const Layer &layer, int count) {
        constexpr int GROUPS = 2 * BLOCK / ROWS;
        team.run(hidden / BLOCK, [&](int unit, int thread) {
            float *numbers = room_of(thread, size_t(count) * 2 * BLOCK);
            times<false>(layer.gates, unit * GROUPS, GROUPS, normed, count, numbers, 2 * BLOCK);
            for (int token = 0; token < count; ++token) {
                const float *gates = numbers + size_t(token) * 2 * BLOCK;
                gate_block(gates, gates + BLOCK, gated.row(token) + unit * BLOCK, gated.scales_of(token) + unit);
            }
        });
    }

    static constexpr int WORTH_RELEASING = 128; // cells
    const int width, heads, kv_heads, dimension, hidden, vocab;
    const float epsilon;
    const Rotation rotation;
    const int largest_batch;
    const bool is_wide;
    Team team;
    Question question;
    std::vector<int32_t> compared; // a path
    std::vector<float> values, values_at_end;
    Plan plan;
    int touched = 0; // the cells from here on take no memory
    Cache cache;
    Arena arena; // of the matrices
    std::vector<Layer> layers;
    Matrix embedding;
    std::unique_ptr<Matrix> head;
    Aligned<float> last_norm, residual, projected, turns, query_scales, logits;
    Aligned<int16_t> queries;
    size_t logit_rows = 0;
    Quantized normed, attended, gated;
    std::vector<int> asked; // which tokens of the batch are wanted
    std::vector<Route> routes; // by line of the plan
    std::vector<float> sights; // by token, head and segment
    std::vector<std::vector<float>> scratch; // by thread
    std::vector<std::vector<Viewer>> viewers; // by thread
};

#endif

} // namespace

void define_transformer(nb::module_ &module) {
#ifdef MIDWORD_AVX2
    nb::class_<Transformer>(module, "Transformer")
        .def_static("instructions", &instructions)
        .def_static("cell_bytes", &Transformer::cell_bytes, nb::kw_only(), nb::arg("layers"), nb::arg("kv_heads"),
                    nb::arg("dimension"))
        .def(nb::init<int, int, int, int, int, int, int, float, float, bool, int, int, int, int, const std::string &>(), nb::kw_only(),
             nb::arg("layers"), nb::arg("width"), nb::arg("heads"), nb::arg("kv_heads"), nb::arg("dimension"),
             nb::arg("hidden"), nb::arg("vocab"), nb::arg("epsilon"), nb::arg("rope_base"),
             nb::arg("rotates_halves"), nb::arg("cells"), nb::arg("kept"), nb::arg("largest_batch"), nb::arg("threads"),
             nb::arg("instructions"))
        .def("set_vector", &Transformer::set_vector)
        .def("set_matrix", &Transformer::set_matrix)
        .def_prop_ro("used_cells", &Transformer::used_cells)
        .def("begin", &Transformer::begin)
        .def("evaluate", &Transformer::evaluate)
        .def("alike", &Transformer::alike);
#endif
}
