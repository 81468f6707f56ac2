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

// The tokens of a row that are at least a ten-thousandth as likely as the likeliest one.
struct Likely {
    struct Token {
        size_t row;
        double weight;
    };
    std::vector<Token> tokens; // that are text, in the order of their rows; none if there are too many
    double rest = 1;           // what all others hold together, at most

    // A stop token may be a text's token, too, if no text is canonical with it: it is among both.
    Likely(const In<double> &row, const ByteTables &tables, const In<int64_t> &stop_tokens) {
        constexpr double LEAST_LOG_SHARE = -9.21, ROUNDING = 1e-9;
        constexpr size_t TOO_MANY = 2048;
        std::vector<double> peaks((row.size() + PEAK_SIZE - 1) / PEAK_SIZE);
        find_peaks(row.data(), row.size(), peaks.data());
        const double least = *std::max_element(peaks.begin(), peaks.end()) + LEAST_LOG_SHARE;
        const size_t count = tables.row_of.size(); // behind them there is padding
        for (size_t block = 0; block < peaks.size() && tokens.size() < TOO_MANY; ++block) {
            if (!(peaks[block] >= least)) continue;
            for (size_t token = block * PEAK_SIZE; token < std::min(count, (block + 1) * PEAK_SIZE); ++token) {
                const int64_t place = row.data()[token] >= least ? tables.row_of.data()[token] : -1;
                if (place >= 0) tokens.push_back({static_cast<size_t>(place), std::exp(row.data()[token])});
            }
        }
        if (tokens.size() >= TOO_MANY) tokens.clear();
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
