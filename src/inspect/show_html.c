/*
 * show_html.c - pictures of families as one page that needs nothing else
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "inspect/show.h"
#include "inspect/text.h"

/* What another form prints, as text of the page. */
static void quote(const struct mproc__show *show, mproc__show_fn form) {
    char *text = NULL;
    size_t size = 0;
    struct mproc__show inner = *show;
    inner.out = open_memstream(&text, &size);
    if (inner.out == NULL) {
        return;
    }
    form(&inner);
    fclose(inner.out);
    mproc__text_escaped(show->out, text);
    free(text);
}

static void section(const struct mproc__show *show, const char *title, mproc__show_fn form) {
    fprintf(show->out, "<h3>%s</h3>\n<pre>", title);
    quote(show, form);
    fputs("</pre>\n", show->out);
}

void mproc__show_html(const struct mproc__show *show) {
    fprintf(show->out, "<section>\n<h2 class=\"%s\">", show->groups > 0 ? "bad" : "good");
    quote(show, mproc__show_head);
    if (show->groups > 0) {
        fprintf(show->out, "%d deadlock%s</h2>\n<pre class=\"bad\">", show->groups,
                show->groups == 1 ? "" : "s");
    } else {
        fputs("no deadlock</h2>\n<pre class=\"some\">", show->out);
    }
    quote(show, mproc__show_troubles);
    fputs("</pre>\n<h3>Who waits for whom</h3>\n", show->out);
    mproc__show_svg(show);
    fputs("<h3>What the threads did</h3>\n", show->out);
    mproc__show_strip(show);
    section(show, "Members", mproc__show_ps);
    section(show, "Locks", mproc__show_locks);
    section(show, "Where they wait", mproc__show_all_places);
    section(show, "Queues, pools, memory", mproc__show_queues);
    fputs("</section>\n", show->out);
}

void mproc__show_html_begin(FILE *out) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<title>mproc report</title>\n"
          "<style>body{font:15px sans-serif;margin:2em;color:#222;background:#fff}"
          "pre{background:#f6f6f4;padding:.8em;overflow-x:auto;font-size:13px}"
          "pre.some:empty{display:none}pre.bad{background:#fdecea}h2{border-bottom:1px solid "
          "#ccc;white-space:pre-line}"
          "h2.bad{color:#c0392b}svg{max-width:100%;height:auto}</style></head>\n"
          "<body><h1>mproc report</h1>\n",
          out);
}

void mproc__show_html_end(FILE *out) {
    fputs("</body></html>\n", out);
}
