/*
 * graph.c - who waits for whom, as a graph: text, DOT, SVG
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each wait is an edge from a member to what it waits for, and each thing that is
 * waited for has an edge to who holds it; where nobody does, dashed edges lead to those who have it
 * and could help. Stuck waits come first, so that they are drawn when there is no room for all. A
 * thread that is not the first one of its process is a node of its own: so two threads of a process
 * that wait for each other are told apart.
 *
 * The drawing. What hangs together is drawn together: its nodes go along the edges, to the right on
 * an upper line and back on a lower one. So a ring of waits looks like one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/blame.h"
#include "inspect/show.h"
#include "inspect/text.h"
#include "inspect/words.h"

#define NODES_MOST 64
#define EDGES_MOST 128
#define HELPERS_MOST 3 /* dashed edges of a node */
#define WIDE 250       /* from node to node */
#define HIGH 130
#define BOX_WIDE 170
#define BOX_HIGH 46
#define LINE_HIGH 30 /* of the words below all */
#define NOBODY (-1)
#define SEVERAL (-2)

struct node {
    int member;      /* -1: an object */
    uint32_t thread; /* 0: the process, and its first thread */
    int object;
    int part;  /* the first node of what it hangs together with */
    int x, y;  /* its middle */
    int asker; /* of an object that nobody is blamed for: the member that waits, SEVERAL, NOBODY */
    bool stuck, placed;
};

enum edge_kind { WAITS, HELD, HELPS };

struct edge {
    int from, to;
    enum edge_kind kind;
    bool stuck;
};

struct graph {
    const struct mproc__show *show;
    struct node nodes[NODES_MOST];
    struct edge edges[EDGES_MOST];
    int nnodes, nedges;
    int left_out; /* waits for which there was no room, or of which nothing is noted */
    int helpers;  /* dashed edges that are left out, of each object once */
};

/* ---------------------------------------------------------------- making it */

/* -1: there is no room. */
static int add_node(struct graph *g, int member, uint32_t thread, int object) {
    for (int i = 0; i < g->nnodes; i++) {
        const struct node *n = &g->nodes[i];
        if (n->member == member && n->thread == thread && n->object == object) {
            return i;
        }
    }
    if (g->nnodes == NODES_MOST) {
        return -1;
    }
    g->nodes[g->nnodes] = (struct node){
        .member = member, .thread = thread, .object = object, .part = g->nnodes, .asker = NOBODY};
    return g->nnodes++;
}

static int node_of_object(struct graph *g, int object) {
    return add_node(g, -1, 0, object);
}

static int node_of_member(struct graph *g, int member) {
    return add_node(g, member, 0, -1);
}

static int node_of_thread(struct graph *g, int member, uint32_t thread) {
    bool first = thread == (uint32_t)g->show->picture->members[member].pid;
    return add_node(g, member, first ? 0 : thread, -1);
}

static void join(struct graph *g, int a, int b) {
    int from = g->nodes[b].part, to = g->nodes[a].part;
    for (int i = 0; i < g->nnodes; i++) {
        g->nodes[i].part = g->nodes[i].part == from ? to : g->nodes[i].part;
    }
}

static bool add_edge(struct graph *g, int from, int to, enum edge_kind kind, bool stuck) {
    for (int i = 0; i < g->nedges; i++) {
        if (g->edges[i].from == from && g->edges[i].to == to && g->edges[i].kind == kind) {
            g->edges[i].stuck = g->edges[i].stuck || stuck;
            return true;
        }
    }
    if (from < 0 || to < 0 || g->nedges == EDGES_MOST) {
        return false;
    }
    g->edges[g->nedges++] = (struct edge){from, to, kind, stuck};
    g->nodes[from].stuck = g->nodes[from].stuck || stuck;
    join(g, from, to);
    return true;
}

static void add_helpers(struct graph *g, const struct mproc__seen_wait *w, int node) {
    const struct mproc__picture *p = g->show->picture;
    const struct mproc__seen_object *o = &p->objects[mproc__picture_outer(p, w->object)];
    int n = 0, asker = g->nodes[node].asker;
    g->nodes[node].asker = asker == NOBODY || asker == w->member ? w->member : SEVERAL;
    for (uint64_t i = 0; i < o->holders && n < HELPERS_MOST; i++) {
        int m = mproc__picture_member(p, p->holders[o->first + i]);
        bool helps = m >= 0 && m != w->member && p->members[m].lives;
        n += helps && add_edge(g, node, node_of_member(g, m), HELPS, w->stuck);
    }
}

static bool is_helper(const struct graph *g, int node, int member) {
    for (int i = 0; i < g->nedges; i++) {
        const struct edge *e = &g->edges[i];
        if (e->from == node && e->kind == HELPS && g->nodes[e->to].member == member) {
            return true;
        }
    }
    return false;
}

/* Those who have the object, and could help somebody else than themselves, without a line. Waits
 * share lines, so they are counted when all waits are there. */
static int helpers_left_out(const struct graph *g, int node) {
    const struct mproc__picture *p = g->show->picture;
    const struct mproc__seen_object *o = &p->objects[g->nodes[node].object];
    int n = 0;
    for (uint64_t i = 0; i < o->holders; i++) {
        int m = mproc__picture_member(p, p->holders[o->first + i]);
        bool helps = m >= 0 && m != g->nodes[node].asker && p->members[m].lives;
        n += helps && !is_helper(g, node, m);
    }
    return n;
}

static bool add_wait(struct graph *g, const struct mproc__seen_wait *w) {
    const struct mproc__picture *p = g->show->picture;
    int from = node_of_thread(g, w->member, w->thread), owner = mproc__blamed(p, w);
    if (w->object < 0 || w->role == MPROC__AWAITS_SECTION) {
        return owner >= 0 && add_edge(g, from, node_of_member(g, owner), WAITS, w->stuck);
    }
    int to = node_of_object(g, mproc__picture_outer(p, w->object));
    if (!add_edge(g, from, to, WAITS, w->stuck)) {
        return false;
    }
    if (owner < 0) {
        add_helpers(g, w, to);
        return true;
    }
    uint32_t thread = (uint32_t)mproc__picture_facts(p, w->object)->thread;
    return add_edge(g, to, node_of_thread(g, owner, thread), HELD, w->stuck);
}

static void make(struct graph *g, const struct mproc__show *show) {
    const struct mproc__picture *p = show->picture;
    memset(g, 0, sizeof *g);
    g->show = show;
    for (int stuck = 1; stuck >= 0; stuck--) {
        for (int i = 0; i < p->nwaits; i++) {
            bool drawn = p->waits[i].object >= 0 || p->waits[i].target >= 0;
            if (drawn && p->waits[i].stuck == (stuck != 0) && !add_wait(g, &p->waits[i])) {
                g->left_out++;
            }
        }
    }
    for (int i = 0; i < p->nmembers; i++) {
        g->left_out += p->members[i].unnoted;
    }
    for (int i = 0; i < g->nnodes; i++) {
        g->helpers += g->nodes[i].asker != NOBODY ? helpers_left_out(g, i) : 0;
    }
}

/* What is not drawn, or "". */
static const char *say_left_out(const struct graph *g, bool drawn, char out[120]) {
    uint64_t helpers = (uint64_t)g->helpers;
    int n = 0;
    out[0] = 0;
    if (g->left_out > 0) {
        n = snprintf(out, 120, "... and %d more %s", g->left_out,
                     mproc__say_many((uint64_t)g->left_out, "wait", "waits"));
    }
    if (helpers > 0) {
        snprintf(out + n, 120 - (size_t)n, "%s %d more %s", n > 0 ? ", and" : "... and", g->helpers,
                 drawn ? mproc__say_many(helpers, "dashed line", "dashed lines")
                       : mproc__say_many(helpers, "that has it", "that have it"));
    }
    return out;
}

static const char *say_node(const struct graph *g, int i, char out[MPROC__SAY]) {
    const struct node *n = &g->nodes[i];
    return n->member >= 0 ? mproc__say_thread(g->show->picture, n->member, n->thread, out)
                          : mproc__say_object(g->show->arena, g->show->picture, n->object, out) + 4;
}

static const char *say_edge(const struct graph *g, const struct edge *e) {
    return e->kind == HELD               ? "held by"
           : e->kind == HELPS            ? "others have it"
           : g->nodes[e->to].member >= 0 ? "waits for the end of"
                                         : "waits for";
}

/* ---------------------------------------------------------------- as text */

void mproc__show_graph(const struct mproc__show *show) {
    struct graph g;
    char from[MPROC__SAY], to[MPROC__SAY], more[120];
    make(&g, show);
    for (int i = 0; i < g.nedges; i++) {
        const struct edge *e = &g.edges[i];
        fprintf(show->out, "%s%s -- %s --> %s\n", e->stuck ? "! " : "  ",
                say_node(&g, e->from, from), say_edge(&g, e), say_node(&g, e->to, to));
    }
    if (*say_left_out(&g, false, more) != 0) {
        fprintf(show->out, "  %s\n", more);
    } else if (g.nedges == 0) {
        fputs("  nobody waits\n", show->out);
    }
}

/* A label has escapes of its own, and the names of characters that HTML has. */
static void dot_string(FILE *out, const char *text) {
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        fputc(*text, out);
        fputs(*text == '&' ? "amp;" : "", out);
    }
}

void mproc__show_dot(const struct mproc__show *show) {
    struct graph g;
    char name[MPROC__SAY], more[120];
    make(&g, show);
    fputs("digraph waits {\n  node [fontname=\"sans-serif\"];\n", show->out);
    for (int i = 0; i < g.nnodes; i++) {
        fprintf(show->out, "  n%d [shape=%s, label=\"", i,
                g.nodes[i].member >= 0 ? "box" : "ellipse");
        dot_string(show->out, say_node(&g, i, name));
        fprintf(show->out, "\"%s];\n", g.nodes[i].stuck ? ", color=red" : "");
    }
    for (int i = 0; i < g.nedges; i++) {
        const struct edge *e = &g.edges[i];
        fprintf(show->out, "  n%d -> n%d [label=\"%s\"%s%s];\n", e->from, e->to, say_edge(&g, e),
                e->stuck ? ", color=red" : "", e->kind == HELPS ? ", style=dashed" : "");
    }
    if (*say_left_out(&g, true, more) != 0) {
        fprintf(show->out, "  label=\"%s\";\n", more);
    }
    fputs("}\n", show->out);
}

/* ---------------------------------------------------------------- placing nodes */

/* The nodes of a part, in the order in which its edges lead. */
static int walk(struct graph *g, int part, int order[NODES_MOST]) {
    int n = 0;
    for (int i = 0; i < g->nnodes; i++) {
        int at = g->nodes[i].part == part && !g->nodes[i].placed ? i : -1;
        while (at >= 0) {
            int next = -1;
            order[n++] = at;
            g->nodes[at].placed = true;
            for (int k = 0; k < g->nedges && next < 0; k++) {
                bool on = g->edges[k].from == at && !g->nodes[g->edges[k].to].placed;
                next = on ? g->edges[k].to : -1;
            }
            at = next;
        }
    }
    return n;
}

/* Returns how high everything is; *wide: how wide. */
static int place(struct graph *g, int *wide) {
    int order[NODES_MOST], top = 0;
    *wide = 3 * WIDE;
    for (int i = 0; i < g->nnodes; i++) {
        if (g->nodes[i].placed) {
            continue;
        }
        int n = walk(g, g->nodes[i].part, order), upper = (n + 1) / 2;
        for (int k = 0; k < n; k++) {
            struct node *node = &g->nodes[order[k]];
            node->x = WIDE / 2 + WIDE * (k < upper ? k : n - 1 - k);
            node->y = top + HIGH / 2 + (k < upper ? 0 : HIGH);
        }
        *wide = upper * WIDE > *wide ? upper * WIDE : *wide;
        top += n > 1 ? 2 * HIGH : HIGH;
    }
    return top > 0 ? top : HIGH / 2;
}

/* ---------------------------------------------------------------- as SVG */

/* Where the line from one node's middle to another's leaves the other's box. */
static void touch(const struct node *from, const struct node *to, double *x, double *y) {
    double dx = from->x - to->x, dy = from->y - to->y;
    double across = dx != 0 ? (BOX_WIDE / 2.0 + 4) / (dx < 0 ? -dx : dx) : 2;
    double along = dy != 0 ? (BOX_HIGH / 2.0 + 4) / (dy < 0 ? -dy : dy) : 2;
    double part = across < along ? across : along;
    *x = to->x + dx * part;
    *y = to->y + dy * part;
}

static void draw_edge(const struct graph *g, const struct edge *e) {
    const struct node *from = &g->nodes[e->from], *to = &g->nodes[e->to];
    double x1, y1, x2, y2;
    touch(to, from, &x1, &y1);
    touch(from, to, &x2, &y2);
    fprintf(g->show->out,
            "<line x1=\"%.0f\" y1=\"%.0f\" x2=\"%.0f\" y2=\"%.0f\" class=\"%s\"%s "
            "marker-end=\"url(#%s)\"/>\n",
            x1, y1, x2, y2, e->stuck ? "stuck" : "edge",
            e->kind == HELPS ? " stroke-dasharray=\"5 4\"" : "", e->stuck ? "red" : "grey");
    bool upright = from->x == to->x;
    fprintf(g->show->out, "<text x=\"%.0f\" y=\"%.0f\" class=\"label%s\">%s</text>\n",
            (x1 + x2) / 2 + (upright ? 8 : 0), (y1 + y2) / 2 + (upright ? 4 : -6),
            upright ? " beside" : "", say_edge(g, e));
}

/* From the last '@' of an object's word on that stands before where it was made. */
static char *second_line(char *name) {
    char *made = strstr(name, " (made at "), *at = NULL;
    for (char *s = strchr(name, '@'); s != NULL && (made == NULL || s < made);
         s = strchr(s + 1, '@')) {
        at = s;
    }
    return at;
}

/* What does not fit into a box is left out, whole characters of it. */
static void fit(char *text, int most) {
    int n = 0;
    for (char *s = text; *s != 0; s++) {
        if (((unsigned char)*s & 0xc0) != 0x80 && n++ == most) {
            *s = 0;
            return;
        }
    }
}

static void draw_node(const struct graph *g, int i) {
    const struct node *n = &g->nodes[i];
    char name[MPROC__SAY];
    const char *text = say_node(g, i, name);
    char *second = n->member >= 0 ? strrchr(name, '(') : second_line(name);
    fprintf(g->show->out,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\" class=\"%s%s\"/>\n",
            n->x - BOX_WIDE / 2, n->y - BOX_HIGH / 2, BOX_WIDE, BOX_HIGH,
            n->member >= 0 ? 4 : BOX_HIGH / 2, n->member >= 0 ? "member" : "object",
            n->stuck ? " bad" : "");
    fprintf(g->show->out, "<text x=\"%d\" y=\"%d\">", n->x, n->y + (second != NULL ? -3 : 5));
    if (second != NULL && second > text) {
        second[-1] = 0;
        fit(second, 32);
    }
    fit(name + (text - name), 26);
    mproc__text_escaped(g->show->out, text);
    if (second != NULL) {
        fprintf(g->show->out, "</text>\n<text x=\"%d\" y=\"%d\" class=\"small\">", n->x, n->y + 15);
        mproc__text_escaped(g->show->out, second);
    }
    fputs("</text>\n", g->show->out);
}

static const char style[] =
    "<style>text{font:13px sans-serif;text-anchor:middle;fill:#222}"
    "text.small{font-size:11px;fill:#555}text.label{font-size:11px;fill:#444}"
    "text.beside{text-anchor:start}"
    "rect.member{fill:#eef3fb;stroke:#4a6fa5}rect.object{fill:#f6f6ee;stroke:#888}"
    "rect.bad{fill:#fdecea;stroke:#c0392b}"
    "line.edge{stroke:#777}line.stuck{stroke:#c0392b;stroke-width:2}</style>\n"
    "<defs><marker id=\"red\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" "
    "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" fill=\"#c0392b\"/></marker>"
    "<marker id=\"grey\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" "
    "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" "
    "fill=\"#777\"/></marker></defs>\n";

void mproc__show_svg(const struct mproc__show *show) {
    struct graph g;
    int wide;
    char more[120];
    make(&g, show);
    int high = place(&g, &wide) + (*say_left_out(&g, true, more) != 0 ? LINE_HIGH : 0);
    fprintf(show->out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\">\n", wide,
            high, wide);
    fputs(style, show->out);
    fprintf(show->out, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", wide, high);
    for (int i = 0; i < g.nedges; i++) {
        draw_edge(&g, &g.edges[i]);
    }
    for (int i = 0; i < g.nnodes; i++) {
        draw_node(&g, i);
    }
    if (*more != 0) {
        fprintf(show->out, "<text x=\"%d\" y=\"%d\">%s</text>\n", wide / 2, high - 10, more);
    } else if (g.nnodes == 0) {
        fprintf(show->out, "<text x=\"%d\" y=\"%d\">nobody waits</text>\n", wide / 2, high / 2);
    }
    fputs("</svg>\n", show->out);
}
