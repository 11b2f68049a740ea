/* SPDX-License-Identifier: Apache-2.0 */
/* A pointwise program over an index space: VECTOR neighbours a thread. The grid is sized for the most elements of the bucket; how many
   there are now is in the shape block, and blocks past the end leave.

   TILED: a copy whose source is contiguous along the axis ACROSS and whose result along the last one. A block turns a tile of both in
   shared memory, so that both sides are read and written in runs; the odd pitch keeps its columns in different banks. */
#if TILED
enum { PITCH = TILE + 1 };
extern "C" __global__ void __launch_bounds__(THREADS) tenon_pointwise(const __grid_constant__ tenon_args args)
{
    __shared__ tenon_word tile[TILE * PITCH];
    const unsigned along = (unsigned)tenon_size(args, RANK - 1), across = (unsigned)tenon_size(args, ACROSS);
    const unsigned columns = (along + TILE - 1) / TILE, rows = (across + TILE - 1) / TILE;
    unsigned rest = blockIdx.x;
    bool surplus = columns == 0 || rows == 0;
    const unsigned column = surplus ? 0 : rest % columns * TILE;
    rest = surplus ? 0 : rest / columns;
    const unsigned row = surplus ? 0 : rest % rows * TILE;
    rest = surplus ? 0 : rest / rows;
    long long from = 0, to = 0;
#pragma unroll
    for (int axis = RANK - 2; axis >= 0; axis--) {
        if (axis == ACROSS) continue;
        const unsigned size = (unsigned)tenon_size(args, axis);
        if (size == 0) {
            surplus = true;
            continue;
        }
        const unsigned i = rest % size;
        rest /= size;
        from += (long long)i * tenon_step(args, 0, axis);
        to += (long long)i * tenon_step(args, RESULT, axis);
    }
    surplus |= rest > 0;
    tenon_wait();
    tenon_trigger();
    if (surplus) return; /* the whole block */
    const tenon_word *x = (const tenon_word *)args.at[0] + from;
    tenon_word *y = (tenon_word *)args.at[RESULT] + to;
#pragma unroll
    for (unsigned i = threadIdx.x; i < TILE * TILE / TILE_FROM; i += THREADS) {
        const unsigned r = i % (TILE / TILE_FROM) * TILE_FROM, c = i / (TILE / TILE_FROM);
        if (row + r >= across || column + c >= along) continue;
        const tenon_word *p = x + (long long)(column + c) * tenon_step(args, 0, RANK - 1) + row + r;
        tenon_vector<tenon_word, TILE_FROM> v;
        if (TILE_FROM > 1 && (args.aligned & 1)) {
            v = *(const tenon_vector<tenon_word, TILE_FROM> *)p;
        } else {
#pragma unroll
            for (int k = 0; k < TILE_FROM; k++) v.lane[k] = p[k];
        }
#pragma unroll
        for (int k = 0; k < TILE_FROM; k++) tile[c * PITCH + r + k] = v.lane[k];
    }
    __syncthreads();
#pragma unroll
    for (unsigned i = threadIdx.x; i < TILE * TILE / VECTOR; i += THREADS) {
        const unsigned c = i % (TILE / VECTOR) * VECTOR, r = i / (TILE / VECTOR);
        if (row + r >= across || column + c >= along) continue;
        tenon_word *p = y + (long long)(row + r) * tenon_step(args, RESULT, ACROSS) + column + c;
        tenon_vector<tenon_word, VECTOR> v;
#pragma unroll
        for (int k = 0; k < VECTOR; k++) v.lane[k] = tile[(c + k) * PITCH + r];
        if (VECTOR > 1 && (args.aligned >> RESULT & 1)) {
            *(tenon_vector<tenon_word, VECTOR> *)p = v;
        } else {
#pragma unroll
            for (int k = 0; k < VECTOR; k++) p[k] = v.lane[k];
        }
    }
}
#else
extern "C" __global__ void __launch_bounds__(THREADS) tenon_pointwise(const __grid_constant__ tenon_args args)
{
    unsigned place[RANK > 0 ? RANK : 1];
    long long at[TENSORS];
    const bool there = tenon_walk<VECTOR>(args, blockIdx.x * (unsigned)THREADS + threadIdx.x, place, at);
    tenon_wait();
    tenon_trigger();
    if (there) tenon_body<VECTOR>(args, at, nullptr);
}
#endif
