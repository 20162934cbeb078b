// The selective scan as a loop in C, compiled with -Ofast for the processor at hand: what a scan by this library is held against.
// Rows lie behind each other, channels within a row; sixteen channels go through time together.

#include <math.h>

#define LANES 16
#define MOST_STATES 64

void selective_scan(const float *u, const float *delta, const float *gate, const float *b, const float *c, const float *a,
                    const float *skip, const float *bias, float *out, int batch, int seq, int channels, int states) {
    for (int sequence = 0; sequence < batch; sequence++) {
        for (int first = 0; first < channels; first += LANES) {
            float h[MOST_STATES][LANES], decay[MOST_STATES][LANES];
            for (int n = 0; n < states; n++) {
                #pragma omp simd
                for (int lane = 0; lane < LANES; lane++) {
                    h[n][lane] = 0.0f;
                    decay[n][lane] = a[(first + lane) * states + n];
                }
            }
            for (int t = 0; t < seq; t++) {
                long row = (long)sequence * seq + t;
                const float *x = u + row * channels + first, *d = delta + row * channels + first, *z = gate + row * channels + first;
                const float *bt = b + row * states, *ct = c + row * states;
                float step[LANES], in[LANES], y[LANES];
                #pragma omp simd
                for (int lane = 0; lane < LANES; lane++) {
                    float raw = d[lane] + bias[first + lane];
                    step[lane] = fmaxf(raw, 0.0f) + logf(1.0f + expf(-fabsf(raw)));
                    in[lane] = step[lane] * x[lane];
                    y[lane] = skip[first + lane] * x[lane];
                }
                for (int n = 0; n < states; n++) {
                    #pragma omp simd
                    for (int lane = 0; lane < LANES; lane++) {
                        h[n][lane] = expf(step[lane] * decay[n][lane]) * h[n][lane] + in[lane] * bt[n];
                        y[lane] += h[n][lane] * ct[n];
                    }
                }
                #pragma omp simd
                for (int lane = 0; lane < LANES; lane++) {
                    out[row * channels + first + lane] = y[lane] * z[lane] / (1.0f + expf(-z[lane]));
                }
            }
        }
    }
}
