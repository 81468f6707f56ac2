// What a row tells at a glance: its likeliest tokens, and what all others hold at most. Included by kernels.cpp.

constexpr double NOTHING = -std::numeric_limits<double>::infinity();
constexpr size_t PEAK_SIZE = 64;

// The greatest of each PEAK_SIZE values; NaN counts as nothing.
FAST_CLONES void find_peaks(const double *values, size_t count, double *peaks) {
    for (size_t start = 0; start < count; start += PEAK_SIZE) {
        double lanes[LANES];
        std::fill(lanes, lanes + LANES, NOTHING);
        const size_t end = std::min(count, start + PEAK_SIZE);
        size_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (size_t lane = 0; lane < LANES; ++lane)
                lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
        for (size_t half = LANES / 2; half; half /= 2)
            for (size_t lane = 0; lane < half; ++lane)
                lanes[lane] = lanes[lane + half] > lanes[lane] ? lanes[lane + half] : lanes[lane];
        for (; i < end; ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
        *peaks++ = lanes[0];
    }
}

Glance look(const In<double> &row) {
    std::vector<double> peaks((row.size() + PEAK_SIZE - 1) / PEAK_SIZE);
    find_peaks(row.data(), row.size(), peaks.data());
    const double peak = peaks.empty() ? NOTHING : *std::max_element(peaks.begin(), peaks.end());
    Glance found;
    if (peak == NOTHING) return found;
    for (size_t block = 0; block < peaks.size() && found.size() < TOO_MANY; ++block) {
        if (!(peaks[block] >= peak + LEAST_LOG_SHARE)) continue;
        for (size_t token = block * PEAK_SIZE; token < std::min(row.size(), (block + 1) * PEAK_SIZE); ++token)
            if (row.data()[token] >= peak + LEAST_LOG_SHARE) found.push_back({static_cast<int32_t>(token), row.data()[token]});
    }
    if (found.size() >= TOO_MANY) found.clear();
    return found;
}

// What was noted when the row was computed, or what is seen now.
Glance glance_of(const In<double> &row) {
    const Glance *noted = blocks().glance(row.data());
    return noted ? *noted : look(row);
}

auto likeliest(In<double> row) {
    const Glance found = glance_of(row);
    std::unique_ptr<int32_t[]> tokens(new int32_t[found.size()]);
    std::unique_ptr<double[]> logs(new double[found.size()]);
    for (size_t i = 0; i < found.size(); ++i) tokens[i] = found[i].token, logs[i] = found[i].log;
    return nb::make_tuple(fresh(std::move(tokens), {found.size()}), fresh(std::move(logs), {found.size()}));
}

// The likeliest tokens of a row, as far as they are text.
struct Likely {
    struct Token {
        size_t row;
        double weight;
    };
    std::vector<Token> tokens; // in the order of their rows; none if there are too many
    double rest = 1;           // what all others hold together, at most

    // A stop token may be a text's token, too, if no text is canonical with it: it is among both.
    Likely(const In<double> &row, const ByteTables &tables, const In<int64_t> &stop_tokens) {
        constexpr double ROUNDING = 1e-9;
        const size_t count = tables.row_of.size(); // behind them there is padding
        for (const auto &[token, log] : glance_of(row)) {
            const int64_t place = static_cast<size_t>(token) < count ? tables.row_of.data()[token] : -1;
            if (place >= 0) tokens.push_back({static_cast<size_t>(place), std::exp(log)});
        }
        std::sort(tokens.begin(), tokens.end(), [](const Token &a, const Token &b) { return a.row < b.row; });
        for (const Token &token : tokens) rest -= token.weight;
        rest = std::max(rest, 0.0) + ROUNDING;
        for (size_t i = 0; i < stop_tokens.size(); ++i) {
            const size_t token = stop_tokens.data()[i];
            if (token < count && tables.row_of.data()[token] >= 0) rest += std::exp(row.data()[token]);
        }
    }

    // The first of the tokens that stands in this row or behind it.
    const Token *from(int64_t first) const {
        const auto found = std::lower_bound(tokens.begin(), tokens.end(), static_cast<size_t>(first),
                                            [](const Token &token, size_t row) { return token.row < row; });
        return tokens.data() + (found - tokens.begin());
    }
};
