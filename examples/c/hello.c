#include <mproc.h>
#include <stdio.h>
#include <string.h>

static int square(const void *in, void *out, void *context) {
    (void)context;
    *(int *)out = *(const int *)in * *(const int *)in;
    return 0;
}

static int greet(void *queue, size_t size) {
    (void)size;
    return mproc_queue_put(queue, "hello from child", 17, MPROC_FOREVER) != 0;
}

int main(int argc, char **argv) {
    int in[5] = {0, 1, 2, 3, 4}, out[5];
    char room[64];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    mproc_pool *pool;
    mproc_process *child;
    if (mproc_init(argc, argv) || mproc_pool_new(&pool, NULL) ||
        mproc_pool_map(pool, square, in, sizeof *in, out, sizeof *out, 5, NULL)) {
        return 1;
    }
    printf("[%d, %d, %d, %d, %d]\n", out[0], out[1], out[2], out[3], out[4]);
    mproc_pool_drop(pool);
    mproc_queue *queue;
    if (mproc_queue_new(&queue, 0) || mproc_process_start(&child, greet, queue, 0, NULL) ||
        mproc_queue_get(queue, &m, MPROC_FOREVER)) {
        return 1;
    }
    printf("%s\n", (char *)m.data);
    mproc_drop(queue);
    return mproc_process_join(child, MPROC_FOREVER) || mproc_process_drop(child);
}
