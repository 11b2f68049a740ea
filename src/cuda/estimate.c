/* SPDX-License-Identifier: Apache-2.0 */
/* The model of estimate.h. Its two latencies are estimates for an H100, from the request to the next instruction: 0.7 us for its
   memory, 0.3 us for its cache and for barriers. They have not been fitted to measurements. */
#include "cuda/estimate.h"

#define ACCESS_SECONDS 0.7e-6
#define WAIT_SECONDS 0.3e-6
enum { RESIDENT = 2048 };

double tenon_cuda_bytes(const tenon_tensor *t) { return (double)tenon_tensor_count(t) * tenon_dtype_get(t->dtype)->bits / 8; }

double tenon_cuda_estimate(const tenon_device *device, const tenon_cuda_work *w)
{
    const tenon_device_info *info = tenon_backend_cuda.info(device);
    const double resident = TENON_MIN(TENON_MAX(w->threads, 32), (double)RESIDENT * tenon_cuda_multiprocessors(device));
    const double rate = TENON_MIN(info->bandwidth, resident * TENON_MAX(w->in_flight, 1) / ACCESS_SECONDS);
    const double share = TENON_MIN(1.0, resident / (256.0 * tenon_cuda_multiprocessors(device))); /* of the arithmetic that so many threads keep busy */
    return info->step_seconds + ACCESS_SECONDS + w->waits * WAIT_SECONDS + TENON_MAX(w->bytes / rate, w->flops / (info->peak_flops * share));
}
