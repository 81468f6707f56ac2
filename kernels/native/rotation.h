// Positions as rotations of the numbers of a head.

#pragma once

#include <cmath>

namespace {

// Pairs are neighbours or, if it rotates halves, a number of the first half and one of the second.
struct Rotation {
    int dimension;
    float base;
    bool rotates_halves;

    // Cosines and sines of a position, by turns.
    void turn(int position, float *numbers) const {
        for (int i = 0; i < dimension; i += 2) {
            const double angle = position * std::pow(double(base), -double(i) / dimension);
            numbers[i] = float(std::cos(angle));
            numbers[i + 1] = float(std::sin(angle));
        }
    }

    // A head's numbers by what `turn` has found.
    void rotate(float *numbers, const float *by) const {
        const int step = rotates_halves ? 1 : 2, apart = rotates_halves ? dimension / 2 : 1;
        for (int i = 0; i < dimension; i += 2, numbers += step) {
            const float a = numbers[0], b = numbers[apart];
            numbers[0] = a * by[i] - b * by[i + 1];
            numbers[apart] = a * by[i + 1] + b * by[i];
        }
    }
};

} // namespace
