// The tokens that may follow a context, worked out for the rows that are looked at. Definitions: successor_mask,
// allowed_rows and beginnings in numpy_reference.py. Included by kernels.cpp, whose pairs it uses.

struct ByteTables {
    In<int32_t> order;
    In<int64_t> row_of;
    In2<uint8_t> columns;
    In<int64_t> lengths, first_byte_starts, long_rows;
    In2<uint8_t> long_columns;

    explicit ByteTables(const nb::tuple &fields)
        : order(nb::cast<In<int32_t>>(fields[0])), row_of(nb::cast<In<int64_t>>(fields[1])),
          columns(nb::cast<In2<uint8_t>>(fields[2])), lengths(nb::cast<In<int64_t>>(fields[3])),
          first_byte_starts(nb::cast<In<int64_t>>(fields[4])), long_rows(nb::cast<In<int64_t>>(fields[5])),
          long_columns(nb::cast<In2<uint8_t>>(fields[6])) {
        const size_t rows = order.size();
        require(columns.shape(1) == rows && lengths.size() == rows, "order, columns and lengths differ in length");
        require(first_byte_starts.size() == 257 && static_cast<size_t>(first_byte_starts.data()[256]) == rows,
                "the first bytes' rows do not end with the last row");
        require(long_columns.shape(1) == long_rows.size(), "long rows and their columns differ in length");
    }

    size_t rows() const { return order.size(); }

    // The bytes at `depth` of the tokens from row `low` on, which are as long.
    const uint8_t *bytes_at(size_t depth, size_t low) const {
        if (depth < columns.shape(0)) return columns.data() + depth * rows() + low;
        const int64_t *first = long_rows.data(), *end = first + long_rows.size();
        const size_t place = std::lower_bound(first, end, static_cast<int64_t>(low)) - first;
        return long_columns.data() + (depth - columns.shape(0)) * long_rows.size() + place;
    }

    // Of rows [low, high), which share `depth` bytes and go on, those that go on with `byte`.
    std::pair<size_t, size_t> narrow(size_t low, size_t high, size_t depth, uint8_t byte) const {
        if (depth == 0) {
            const int64_t *starts = first_byte_starts.data() + byte;
            return {static_cast<size_t>(starts[0]), static_cast<size_t>(starts[1])};
        }
        if (low == high) return {low, low};
        const uint8_t *bytes = bytes_at(depth, low);
        const auto [from, to] = std::equal_range(bytes, bytes + (high - low), byte);
        return {low + (from - bytes), low + (to - bytes)};
    }

    // The first of rows [low, high) that is longer than `length`; shorter ones stand first.
    size_t longer(size_t low, size_t high, size_t length) const {
        while (low < high && static_cast<size_t>(lengths.data()[low]) == length) ++low;
        return low;
    }
};

// Whether each verdict is 1 or 2. Returns how many are 1, or a negative number if one is none of the three.
FAST_CLONES int64_t allow(const int8_t *RESTRICT verdicts, size_t count, uint8_t *RESTRICT mask) {
    uint8_t most = 0;
    uint32_t ones = 0;
    for (size_t i = 0; i < count; ++i) most = std::max(most, static_cast<uint8_t>(verdicts[i]));
    for (size_t i = 0; i < count; ++i) mask[i] = verdicts[i] != 0;
    for (size_t i = 0; i < count; ++i) ones += verdicts[i] == 1;
    return most > 2 ? -1 : int64_t{ones};
}

// A mask, or the rule that tells.
class Successors {
  public:
    explicit Successors(nb::handle given) {
        if (nb::isinstance<nb::tuple>(given)) {
            const auto fields = nb::cast<nb::tuple>(given);
            verdicts = nb::cast<In<int8_t>>(fields[0]);
            left = nb::cast<int64_t>(fields[1]);
            if (left >= 0) forest = parsed<Forest>(nb::cast<nb::tuple>(fields[2]));
        } else {
            mask = nb::cast<In<bool>>(given);
        }
    }

    Successors(In<int8_t> verdicts, int64_t left, std::shared_ptr<const Forest> forest)
        : verdicts(std::move(verdicts)), left(left), forest(std::move(forest)) {}

    bool is_rule() const { return !mask.is_valid(); }

    size_t size() const { return mask.is_valid() ? mask.size() : verdicts.size(); }

    // The mask of rows [low, high), in `scratch` if it stood nowhere yet.
    const uint8_t *within(size_t low, size_t high, std::vector<uint8_t> &scratch) const {
        require(low <= high && high <= size(), "the rows are outside of the vocabulary");
        if (mask.is_valid()) return flags(mask) + low;
        if (scratch.size() < high - low) scratch.resize(high - low);
        tell(low, high, scratch.data());
        return scratch.data();
    }

    bool at(size_t row) const {
        uint8_t allowed;
        if (mask.is_valid()) return mask.data()[row];
        tell(row, row + 1, &allowed);
        return allowed;
    }

    bool any(size_t low, size_t high) const {
        for (const size_t first = std::min(high, low + FEW); low < first; ++low)
            if (at(low)) return true;
        std::vector<uint8_t> scratch;
        const uint8_t *allowed = within(low, high, scratch);
        return std::any_of(allowed, allowed + (high - low), [](uint8_t one) { return one; });
    }

    // By the rule.
    void tell(size_t low, size_t high, uint8_t *out) const {
        require(low <= high && high <= verdicts.size(), "the rows are outside of the vocabulary");
        const int8_t *judged = verdicts.data() + low;
        const int64_t doubtful = allow(judged, high - low, out);
        require(doubtful >= 0, "a verdict is not 0, 1 or 2");
        if (!doubtful || left < 0) return;
        if (doubtful <= FEW) {
            for (size_t row = low; row < high; ++row)
                if (judged[row - low] == 1) out[row - low] = !forest->crosses(left, row);
            return;
        }
        const int32_t from = static_cast<int32_t>(low), to = static_cast<int32_t>(high);
        forbid_pairs(*forest, left, {from, to}, [&](int32_t row) {
            if (row >= from && row < to) out[row - from] = judged[row - from] == 2;
        });
    }

  private:
    static constexpr int64_t FEW = 4; // are asked for one by one

    In<bool> mask;
    In<int8_t> verdicts;
    int64_t left = -1;
    std::shared_ptr<const Forest> forest;
};

auto successor_mask(nb::tuple rule, size_t low, size_t high) {
    const Successors successors(rule);
    require(low <= high && high <= successors.size(), "the rows are outside of the vocabulary");
    std::unique_ptr<bool[]> out(new bool[high - low]);
    successors.tell(low, high, reinterpret_cast<uint8_t *>(out.get()));
    return fresh(std::move(out), {high - low});
}

nb::object allowed_rows(nb::object successors, size_t low, size_t high) {
    if (nb::isinstance<nb::tuple>(successors))
        return nb::cast(successor_mask(nb::cast<nb::tuple>(successors), low, high));
    return successors[nb::slice(nb::int_(low), nb::int_(high), nb::none())];
}
