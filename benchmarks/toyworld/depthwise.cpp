// Gradient of a depthwise convolution's weights, channels last: 16 channels at a time, a row of the kernel in
// registers. Inputs are (b, h, w, c) in bfloat16 (the upper halves of float32); out is (c, k, k), added to.

#include <cstdint>
#include <cstring>
#include <vector>

typedef float lanes __attribute__((vector_size(64)));
static const int L = 16, K = 7, R = 3;

// Channels c0 .. c0 + n of a picture to floats (h + 2 pad, w + 2 pad, 16), zeros around and in missing channels.
static void unpack(const uint16_t* in, float* out, int h, int w, int c, int c0, int n, int pad) {
    const int width = w + 2 * pad;
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x) {
            const uint16_t* from = in + (static_cast<int64_t>(y) * w + x) * c + c0;
            uint32_t* to = reinterpret_cast<uint32_t*>(out + (static_cast<int64_t>(y + pad) * width + x + pad) * L);
            if (n == L)
                for (int i = 0; i < L; ++i) to[i] = static_cast<uint32_t>(from[i]) << 16;
            else
                for (int i = 0; i < n; ++i) to[i] = static_cast<uint32_t>(from[i]) << 16;
        }
}

extern "C" void depthwise_weight_gradient(
    const uint16_t* input, const uint16_t* gradient, float* out, int b, int h, int w, int c) {
    const int width = w + 2 * R;
    const int64_t picture = static_cast<int64_t>(h) * w * c;
    for (int c0 = 0; c0 < c; c0 += L) {
        const int n = c - c0 < L ? c - c0 : L;
        std::vector<float> x_store((static_cast<int64_t>(h) + 2 * R) * width * L + L, 0.f);
        std::vector<float> g_store(static_cast<int64_t>(h) * w * L + L, 0.f);
        float* xs = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(x_store.data()) + 63) & ~uintptr_t(63));
        float* gs = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(g_store.data()) + 63) & ~uintptr_t(63));
        lanes sums[K][K];
        std::memset(sums, 0, sizeof(sums));
        for (int i = 0; i < b; ++i) {
            unpack(input + i * picture, xs, h, w, c, c0, n, R);
            unpack(gradient + i * picture, gs, h, w, c, c0, n, 0);
            for (int y = 0; y < h; ++y)
                for (int ky = 0; ky < K; ++ky) {
                    const lanes* g = reinterpret_cast<const lanes*>(gs) + static_cast<int64_t>(y) * w;
                    const lanes* x = reinterpret_cast<const lanes*>(xs) + static_cast<int64_t>(y + ky) * width;
                    lanes s0 = sums[ky][0], s1 = sums[ky][1], s2 = sums[ky][2], s3 = sums[ky][3];
                    lanes s4 = sums[ky][4], s5 = sums[ky][5], s6 = sums[ky][6];
                    for (int j = 0; j < w; ++j) {
                        const lanes v = g[j];
                        s0 += v * x[j];
                        s1 += v * x[j + 1];
                        s2 += v * x[j + 2];
                        s3 += v * x[j + 3];
                        s4 += v * x[j + 4];
                        s5 += v * x[j + 5];
                        s6 += v * x[j + 6];
                    }
                    sums[ky][0] = s0, sums[ky][1] = s1, sums[ky][2] = s2, sums[ky][3] = s3;
                    sums[ky][4] = s4, sums[ky][5] = s5, sums[ky][6] = s6;
                }
        }
        for (int i = 0; i < n; ++i)
            for (int ky = 0; ky < K; ++ky)
                for (int kx = 0; kx < K; ++kx) out[((c0 + i) * K + ky) * K + kx] += sums[ky][kx][i];
    }
}
