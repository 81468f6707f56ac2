// Reading bytes while it is certain which one comes next. Definition: read_surely in numpy_reference.py.
// Included by kernels.cpp, whose sums, weights and successors it uses.

constexpr double MORE_THAN_HALF = 0.5 + 1e-9;
constexpr int STOP = 256;

// A context; its weights are those of rows [low, high), null for a token not begun.
struct OpenContext {
    size_t number;
    double log_weight;
    size_t depth, low, high;
    In<double> row;
    Successors allowed;
    nb::object stop_share;
    const double *weights = nullptr, *first_byte_sums = nullptr;
    nb::object given;                  // the weights, or
    std::shared_ptr<double[]> owned;   // those that were computed here
    size_t weighed = 0;                // first row of what was computed
    double weight = 1, scale = 1;      // sum of the weights; P(context) in the unit of all

    OpenContext(size_t number, nb::tuple fields, const ByteTables &tables)
        : number(number), log_weight(nb::cast<double>(fields[0])), depth(nb::cast<size_t>(fields[1])),
          low(nb::cast<size_t>(fields[2])), high(nb::cast<size_t>(fields[3])), row(nb::cast<In<double>>(fields[5])),
          allowed(fields[6]), stop_share(fields[8]) {
        require(low <= high && high <= tables.rows(), "a context's rows are outside of the vocabulary");
        require(allowed.size() == tables.rows(), "order and allowed differ in length");
        if (!fields[4].is_none()) {
            const auto held = nb::cast<In<double>>(fields[4]);
            require(held.size() == high - low, "weights and rows differ in length");
            weights = held.data(), given = fields[4];
            weight = sum_of(weights, high - low);
        } else if (!fields[7].is_none()) {
            const auto sums = nb::cast<In<double>>(fields[7]);
            require(sums.size() == 256, "there are not 256 sums by first byte");
            first_byte_sums = sums.data();
        }
    }

    double log_mass() const { return log_weight + std::log(weight); }
    double mass() const { return scale * weight; }
};

struct EndedToken {
    size_t number, read, row;
    double log_mass;
};

FAST_CLONES size_t place_of_greatest(const double *values, size_t count) {
    double lanes[LANES];
    std::fill(lanes, lanes + LANES, -std::numeric_limits<double>::infinity());
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t lane = 0; lane < LANES; ++lane)
            lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    for (; i < count; ++i) lanes[0] = std::max(lanes[0], values[i]);
    const double peak = *std::max_element(lanes, lanes + LANES);
    for (i = 0; i < count && values[i] != peak;) ++i;
    return i;
}

double log_of_sum(double a, double b) {
    const double most = std::max(a, b), least = std::min(a, b);
    return most + std::log1p(std::exp(least - most));
}

class Reader {
  public:
    Reader(nb::tuple tables, nb::sequence contexts, double pending_log)
        : tables(parsed<ByteTables>(tables)), pending_log(pending_log) {
        double unit = std::max(pending_log, LEAST_UNIT);
        size_t number = 0;
        for (nb::handle fields : contexts) live.emplace_back(number++, nb::cast<nb::tuple>(fields), this->tables);
        for (const OpenContext &context : live) unit = std::max(unit, context.log_mass());
        for (OpenContext &context : live) context.scale = std::exp(context.log_weight - unit);
        this->unit = unit;
    }

    nb::object read() {
        while (std::all_of(live.begin(), live.end(), [&](const auto &c) { return c.depth < tables.depth(); })) {
            pending = std::exp(pending_log - unit);
            double total = pending;
            for (const OpenContext &context : live) total += context.mass();
            int best = peak(total);
            double known = 0;
            if (best < 0) {
                for (OpenContext &context : live)
                    if (!context.weights && !context.first_byte_sums) sum_first_bytes(context);
                best = certain(total, known);
            }
            if (best < 0) {
                is_open = true;
                break;
            }
            if (best == STOP) {
                take(STOP, total > 0 ? known / total : 0);
                break;
            }
            const int64_t *starts = tables.first_byte_starts.data();
            if (starts[best] == starts[best + 1]) break;
            take(best, narrow(static_cast<uint8_t>(best)) / total);
            if (best == '\n' || best >= 0x80) break;
        }
        return result();
    }

  private:
    static constexpr double LEAST_UNIT = -1e300;

    const ByteTables &tables;
    std::vector<uint8_t> scratch; // for masks
    double pending_log, unit, pending; // what was not scored: by exp(unit), which all masses are counted in
    std::vector<OpenContext> live;
    std::vector<EndedToken> ended;
    nb::list symbols, shares, sums;
    size_t count = 0;
    bool is_open = false;

    void take(int symbol, double share) {
        symbols.append(symbol), shares.append(share);
        ++count;
    }

    bool are_sums_known() const {
        return std::all_of(live.begin(), live.end(), [](const auto &c) { return c.weights || c.first_byte_sums; });
    }

    // The first byte of the likeliest token, if more than half is known to go on with it, or -1.
    int peak(double total) {
        int64_t likeliest = -1;
        double most = 0;
        for (const OpenContext &context : live) {
            if (context.weights) continue;
            const size_t token = place_of_greatest(context.row.data(), context.row.size());
            if (token >= tables.row_of.size()) continue;
            const double mass = context.scale * std::exp(context.row.data()[token]);
            const int64_t row = tables.row_of.data()[token];
            if (row >= 0 && mass > most && context.allowed.at(row)) most = mass, likeliest = row;
        }
        if (likeliest < 0) return -1;
        const uint8_t byte = tables.column(0)[likeliest];
        return most > MORE_THAN_HALF * total || (!are_sums_known() && held_by(byte) > MORE_THAN_HALF * total) ? byte : -1;
    }

    // The mass of what goes on with the byte. Contexts that were not begun keep the weights of these tokens.
    double held_by(uint8_t byte) {
        double held = 0;
        for (OpenContext &c : live) {
            const auto [first, high] = tables.narrow(c.low, c.high, c.depth, byte);
            if (!c.weights) weigh_rows(c, first, high);
            held += c.scale * sum_of(c.weights ? c.weights + (first - c.low) : c.owned.get(), high - first);
        }
        return held;
    }

    // The symbol of most mass, and that mass, if what is pending cannot change which it is; else -1.
    int certain(double total, double &most) const {
        double known[257] = {};
        for (const OpenContext &c : live) {
            if (c.weights) {
                add_sums_of(c.weights, tables.column(c.depth) + c.low, c.high - c.low, c.scale, known);
                continue;
            }
            for (size_t byte = 0; byte < 256; ++byte) known[byte] += c.scale * c.first_byte_sums[byte];
            known[STOP] += c.scale * nb::cast<double>(c.stop_share());
        }
        const int best = static_cast<int>(std::max_element(known, known + 257) - known);
        most = known[best];
        double second = 0;
        for (int symbol = 0; symbol < 257; ++symbol)
            if (symbol != best) second = std::max(second, known[symbol]);
        if (most == 0) return pending == 0 ? STOP : -1;
        return pending == 0 || most > MORE_THAN_HALF * total || most >= second + pending ? best : -1;
    }

    // Reads the byte in every context; returns the mass of what goes on or ends with it.
    double narrow(uint8_t byte) {
        double held = 0;
        for (OpenContext &context : live) held += context.scale * narrow(context, byte);
        live.erase(std::remove_if(live.begin(), live.end(), [](const auto &c) { return !(c.weight > 0); }), live.end());
        return held;
    }

    double narrow(OpenContext &c, uint8_t byte) {
        const auto [first, high] = tables.narrow(c.low, c.high, c.depth, byte);
        if (!c.weights && !(c.owned && c.weighed == first)) weigh_rows(c, first, high);
        c.weights = c.weights ? c.weights + (first - c.low) : c.owned.get();
        const size_t low = tables.longer(first, high, c.depth + 1);
        double ended_weight = 0;
        for (size_t row = first; row < low; ++row) {
            const double weight = c.weights[row - first];
            if (!(weight > 0)) continue;
            ended.push_back({c.number, count + 1, row, c.log_weight + std::log(weight)});
            ended_weight += weight;
        }
        c.weights += low - first;
        c.low = low, c.high = high, ++c.depth;
        c.weight = sum_of(c.weights, high - low);
        if (ended_weight > 0) pending_log = log_of_sum(pending_log, c.log_weight + std::log(ended_weight));
        return ended_weight + c.weight;
    }

    void weigh_rows(OpenContext &c, size_t first, size_t high) {
        const size_t size = high - first;
        c.owned.reset(new double[size]);
        c.weighed = first;
        double total = 0;
        require(weigh(c.row.data(), c.row.size(), tables.order.data() + first,
                      c.allowed.within(first, high, scratch), size, c.owned.get(), &total),
                "order names a place outside of the row");
        require(!std::isnan(total), "a weight is NaN");
    }

    // Those of one byte may have been weighed already.
    void sum_first_bytes(OpenContext &c) {
        const int64_t *starts = tables.first_byte_starts.data();
        const size_t known = c.owned ? tables.column(0)[c.weighed] : 256;
        std::unique_ptr<double[]> found(new double[256]());
        sum_groups(c, 0, known, found.get());
        if (known < 256) {
            sum_groups(c, known + 1, 256, found.get());
            found[known] = sum_of(c.owned.get(), starts[known + 1] - starts[known]);
        }
        c.first_byte_sums = found.get();
        sums.append(nb::make_tuple(c.number, fresh(std::move(found), {256})));
    }

    // Sums of the first bytes [from, to).
    void sum_groups(const OpenContext &c, size_t from, size_t to, double *found) {
        std::vector<int64_t> starts(tables.first_byte_starts.data() + from, tables.first_byte_starts.data() + to + 1);
        const size_t first = starts[0];
        for (int64_t &start : starts) start -= first;
        double total = 0;
        require(weigh_groups(c.row.data(), c.row.size(), tables.order.data() + first,
                             c.allowed.within(first, first + starts.back(), scratch), starts.data(), to - from,
                             found + from, &total),
                "order names a place outside of the row");
        require(!std::isnan(total), "a weight is NaN");
    }

    static nb::object owner_of(const OpenContext &c) {
        if (!c.owned) return c.given;
        return nb::capsule(new std::shared_ptr<double[]>(c.owned), [](void *held) noexcept {
            delete static_cast<std::shared_ptr<double[]> *>(held);
        });
    }

    nb::object result() const {
        nb::list contexts, over;
        for (const OpenContext &c : live) {
            if (!c.weights) continue;
            nb::ndarray<nb::numpy, const double> weights(c.weights, {c.high - c.low}, owner_of(c));
            contexts.append(nb::make_tuple(c.number, c.low, c.high, weights, c.log_mass()));
        }
        for (const EndedToken &t : ended) over.append(nb::make_tuple(t.number, t.read, t.row, t.log_mass));
        return nb::make_tuple(symbols, shares, contexts, over, pending_log, is_open, sums);
    }
};

nb::object read_surely(nb::tuple tables, nb::sequence contexts, double pending_log) {
    return Reader(tables, contexts, pending_log).read();
}
