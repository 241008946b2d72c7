/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/ivf.h"

#include "modules/vector/distance.h"
#include "modules/vector/quantiser.h"

void encode_floats(const struct ivf *v, const void *vector, float norm, float *out)
{
    vector_floats(v->layout.type, vector, v->layout.dims, out);
    for (uint32_t i = 0; v->layout.metric == METRIC_COSINE && i < v->layout.dims; i++)
        out[i] /= norm;
}

void encode_rotated(const struct ivf *v, const void *vector, float norm, float *out)
{
    encode_floats(v, vector, norm, out);
    vector_rotate(&v->rotation, out, out);
}

void encode_code(struct leat_task *t, const struct ivf *v, const float *rotated, const float *centroid,
                 struct encoded *out)
{
    if (v->layout.width == 0)
        return;
    out->code = leat_alloc(t, v->layout.code);
    vector_encode(v->layout.metric == METRIC_DOT ? VECTOR_DOT : VECTOR_L2, rotated, centroid, v->layout.width,
                  out->code, &out->factors);
}

size_t encode_room(const struct index *x)
{
    const struct vector_coarse *centroids = index_centroids(x);

    return centroids != NULL ? vector_coarse_room(centroids, 1) : 1;
}

void encode_nearest(struct leat_task *t, const struct ivf *v, const struct index *x, const void *const *vector,
                    const float *norm, uint32_t count, struct encoded *out, void *room)
{
    const struct vector_coarse *centroids = index_centroids(x);
    uint32_t padded = v->rotation.padded;
    float *rotated = leat_alloc(t, (size_t)count * padded * sizeof(*rotated));
    struct vector_near *near = leat_alloc(t, count * sizeof(*near));
    const float **query = leat_alloc(t, count * sizeof(*query));

    for (uint32_t i = 0; i < count; i++) {
        encode_rotated(v, vector[i], norm[i], rotated + (size_t)i * padded);
        query[i] = rotated + (size_t)i * padded;
        near[i] = (struct vector_near){0, 0, v->origin};
    }
    if (centroids != NULL && count > 0)
        vector_coarse_search_many(centroids, query, count, 1, near, room);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (struct encoded){.posting = near[i].number};
        encode_code(t, v, query[i], near[i].centroid, &out[i]);
    }
}
