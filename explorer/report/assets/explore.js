(() => { // the section Explore: parallel coordinates, any measure against any, the table of models
  const { data, details, cells, byId, element, short, embed, expand, copy, listen, views, chosen } = window.explorerPage;
  const svg = document.getElementById("parallel");
  const known = name => cells.some(r => typeof r[name] === "number");
  const columns = [...data.axes.map(a => ({ name: a.name, title: a.short, log: false, axis: true })), ...Object.entries(data.measures).map(([name, m]) => ({ name, title: m.title, log: m.log }))]
    .filter(c => known(c.name)).slice(0, 12);
  const ran = cells.filter(r => !r.note);
  const colours = Object.fromEntries([...document.querySelectorAll(".key .phase")].map(b => [b.textContent, b.style.background]));
  const ranges = new Map(); // column -> [low, high]
  const inside = r => [...ranges].every(([n, [low, high]]) => typeof r[n] === "number" && r[n] >= low && r[n] <= high);
  const kept = () => new Set(ran.filter(inside).map(r => String(r.cell_id)));
  const SVG = "http://www.w3.org/2000/svg";
  const node = (tag, attributes, text) => {
    const made = document.createElementNS(SVG, tag);
    for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // ---- parallel coordinates
  const TOP = 54, TALL = 190, STEP = Math.max(88, Math.min(120, (svg.parentElement.clientWidth - 4) / Math.max(columns.length, 1)));
  for (const [i, c] of columns.entries()) {
    const values = ran.map(r => r[c.name]).filter(v => typeof v === "number");
    c.x = STEP / 2 + i * STEP;
    c.low = Math.min(...values); c.high = Math.max(...values);
    c.log = c.low > 0 && (c.log || (c.axis && c.high / c.low >= 8));
    const f = c.log ? Math.log : v => v, back = c.log ? Math.exp : v => v, a = f(c.low), b = f(c.high);
    c.y = v => TOP + TALL * (b > a ? 1 - (f(v) - a) / (b - a) : 0.5);
    c.value = y => back(a + (b - a) * (1 - (Math.min(TOP + TALL, Math.max(TOP, y)) - TOP) / TALL));
  }
  const paths = [];
  const drawLines = () => {
    const wide = Math.max(columns.length * STEP, 200);
    svg.setAttribute("viewBox", `0 0 ${wide} ${TOP + TALL + 26}`);
    svg.setAttribute("width", wide); svg.setAttribute("height", TOP + TALL + 26);
    for (const r of ran) {
      const points = columns.filter(c => typeof r[c.name] === "number").map(c => `${c.x},${c.y(r[c.name]).toFixed(1)}`);
      if (points.length < 2) continue;
      const path = node("path", { d: `M${points.join("L")}`, stroke: colours[r.phase] || "currentColor" });
      path.dataset.id = r.cell_id;
      paths.push(path);
      svg.append(path);
    }
    for (const c of columns) {
      svg.append(node("line", { x1: c.x, x2: c.x, y1: TOP, y2: TOP + TALL }));
      const words = c.title.split(" "), half = Math.ceil(words.length / 2);
      [words.slice(0, half), words.slice(half)].forEach((w, k) => svg.append(node("text", { x: c.x, y: 14 + 13 * k, "text-anchor": "middle" }, w.join(" "))));
      svg.append(node("text", { x: c.x, y: TOP - 8, "text-anchor": "middle", class: "tick" }, short(c.high)));
      svg.append(node("text", { x: c.x, y: TOP + TALL + 16, "text-anchor": "middle", class: "tick" }, short(c.low)));
      c.brush = node("rect", { class: "brush", x: c.x - 8, width: 16, y: TOP, height: 0, visibility: "hidden" });
      const grip = node("rect", { class: "grip", x: c.x - 18, width: 36, y: TOP - 4, height: TALL + 8 });
      svg.append(c.brush, grip);
      let from = null;
      const at = e => { const box = svg.getBoundingClientRect(); return (e.clientY - box.top) * (TOP + TALL + 26) / box.height; };
      grip.addEventListener("pointerdown", e => { from = at(e); grip.setPointerCapture(e.pointerId); });
      grip.addEventListener("pointermove", e => { if (from !== null) { const y = at(e); if (Math.abs(y - from) > 4) brush(c, c.value(Math.max(from, y)), c.value(Math.min(from, y))); } });
      grip.addEventListener("pointerup", e => { if (from !== null && Math.abs(at(e) - from) <= 4) brush(c, null); from = null; });
    }
  };
  const EDGE = 1e-9;
  const brush = (c, low, high) => {
    if (low === null) ranges.delete(c.name); else ranges.set(c.name, [low - EDGE * Math.abs(low), high + EDGE * Math.abs(high)]);
    const on = ranges.has(c.name);
    c.brush.setAttribute("visibility", on ? "visible" : "hidden");
    if (on) { c.brush.setAttribute("y", c.y(high)); c.brush.setAttribute("height", Math.max(2, c.y(low) - c.y(high))); }
    if (c.inputs && document.activeElement !== c.inputs[0] && document.activeElement !== c.inputs[1]) [low, high].forEach((v, k) => { c.inputs[k].value = on ? Number(v.toPrecision(4)) : ""; });
    narrow();
  };
  const numbers = () => {
    const box = document.getElementById("ranges");
    for (const c of columns) {
      const label = element("div", null, { class: "range" });
      c.inputs = ["from", "to"].map((word, k) => element("input", null, { type: "number", step: "any", "aria-label": `${c.title}, ${word}`, placeholder: short(k ? c.high : c.low) }));
      c.inputs.forEach(i => i.addEventListener("change", () => {
        const [low, high] = c.inputs.map((x, k) => (x.value === "" ? [c.low, c.high][k] : Number(x.value)));
        brush(c, c.inputs.every(x => x.value === "") || low > high ? null : low, high);
      }));
      label.append(element("span", c.title), " ", ...c.inputs);
      box.append(label);
    }
  };
  const mark = () => paths.forEach(p => p.classList.toggle("chosen", p.dataset.id === chosen()));
  const narrow = () => {
    const ids = kept();
    paths.forEach(p => p.classList.toggle("out", !ids.has(p.dataset.id)));
    document.getElementById("kept").textContent = ranges.size ? `${ids.size} of ${ran.length} cells are in range.` : `${ran.length} cells.`;
    document.getElementById("unbrush").hidden = !ranges.size;
    if (scatter) scatter.data("cells", copy(ran.filter(r => ids.has(String(r.cell_id))))).runAsync();
    list();
  };

  // ---- any measure against any
  let scatter = null;
  const selects = ["any-x", "any-y"].map(id => document.getElementById(id));
  const against = async () => {
    const [right, up] = selects.map(s => columns.find(c => c.name === s.value)), box = document.getElementById("any");
    const spec = JSON.parse(JSON.stringify(data.any).replaceAll("x__", () => right.name).replaceAll("y__", () => up.name));
    for (const { encoding } of spec.layer) {
      for (const [channel, column] of [["x", right], ["y", up]]) {
        const at = encoding && encoding[channel];
        if (!at || !at.field) continue;
        at.title = column.title;
        at.scale = column.log ? { type: "log", nice: false, padding: 8 } : { zero: false, padding: 8 };
        at.axis = { tickCount: 5 };
      }
      for (const t of (encoding && encoding.tooltip) || []) {
        const column = [right, up].find(c => t.field === `${c.name}_text`);
        if (column) { t.title = column.title; if (column.axis) t.field = column.name; }
      }
    }
    if (scatter) { views.splice(views.findIndex(v => v.view === scatter), 1); scatter.finalize(); scatter = null; }
    const ids = kept();
    scatter = await embed(box, spec, ran.filter(r => ids.has(String(r.cell_id))), `${up.title} against ${right.title}`);
    views.push({ view: scatter, all: true, name: "cells" });
    if (chosen()) scatter.signal("chosen", chosen()).runAsync();
    listen(scatter);
  };

  // ---- all models
  const HEADS = { seed: "Seed", status: "Status", test_accuracy_percent: "Test accuracy (%)", bleu: "BLEU", test_perplexity: "Test perplexity", train_loss: "Training loss (nats)", train_error_percent: "Training error (%)", test_loss: "Test loss (nats)", hessian_top_eigenvalue: "Top eigenvalue", hessian_trace: "Trace", steps: "Steps", wall_s: "Time (s)", error: "Error" };
  const PAGE = 25;
  const none = v => v === null || v === undefined || v === "";
  let models = [], heads = [], sorted = [null, 1], limit = PAGE;
  const gather = source => {
    models = Object.entries(source).flatMap(([cell, table]) => expand(table).map(m => {
      const at = byId.get(cell) || {}, row = { ...m, cell };
      for (const a of data.axes) row[a.name] = at[a.name];
      row.text = [...data.axes.map(a => `${a.name}=${row[a.name]}`), ...Object.entries(m).map(([k, v]) => `${k}=${v}`)].join(" ").toLowerCase();
      return row;
    }));
    for (const a of [...data.axes].reverse()) models.sort((x, y) => (x[a.name] > y[a.name]) - (x[a.name] < y[a.name]));
    heads = [...data.axes.map(a => [a.name, a.short]), ...Object.entries({ ...HEADS, ...data.heads }).filter(([n]) => models.some(m => !none(m[n])))];
    list();
  };
  const list = () => {
    if (!models.length) return;
    const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean), ids = ranges.size ? kept() : null;
    const fits = m => words.every(w => (w.includes("=") ? ` ${m.text} `.includes(` ${w} `) : m.text.includes(w))) && (!ids || ids.has(m.cell));
    const rows = models.filter(fits), [by, sign] = sorted;
    if (by) rows.sort((a, b) => {
      const [x, y] = [a[by], b[by]];
      if (none(x) || none(y)) return none(x) - none(y);
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
    });
    const made = element("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    for (const [name, title] of heads) {
      const cell = element("th", null, { scope: "col", class: "num", "aria-sort": by === name ? (sign > 0 ? "ascending" : "descending") : "none" });
      const button = element("button", title + (by === name ? (sign > 0 ? " ▲" : " ▼") : ""), { type: "button", class: "sort", "data-sort": name });
      cell.append(button);
      head.append(cell);
    }
    head.append(element("td", ""));
    for (const m of rows.slice(0, limit)) {
      const line = body.insertRow();
      for (const [name] of heads) line.append(element("td", short(m[name]), { class: name === "error" ? "error" : "num" }));
      const last = element("td"), label = data.axes.map(a => m[a.name]).join(", ");
      last.append(element("button", "Cell", { type: "button", "data-cell": m.cell, "aria-label": `Details of cell ${label || m.cell}, from seed ${m.seed}` }));
      line.append(last);
    }
    const box = element("div", null, { class: "scroll", tabindex: "0", role: "group", "aria-labelledby": "models-title" }), target = document.getElementById("models-table");
    const focused = document.activeElement && document.activeElement.dataset.sort;
    box.append(made);
    target.replaceChildren(box);
    if (rows.length > limit) {
      const more = element("button", `Show ${Math.min(4 * PAGE, rows.length - limit)} more`, { type: "button" });
      more.addEventListener("click", () => { limit += 4 * PAGE; list(); });
      target.append(more);
    }
    if (focused) target.querySelector(`[data-sort="${CSS.escape(focused)}"]`).focus();
    document.getElementById("model-count").textContent = `${rows.length.toLocaleString("en")} of ${models.length.toLocaleString("en")} models${rows.length > limit ? `, the first ${limit} shown` : ""}`;
  };
  document.getElementById("models-table").addEventListener("click", e => {
    const button = e.target instanceof Element && e.target.closest("[data-sort]");
    if (!button) return;
    sorted = [button.dataset.sort, sorted[0] === button.dataset.sort ? -sorted[1] : 1];
    limit = PAGE;
    list();
  });
  document.getElementById("filter").addEventListener("input", () => { limit = PAGE; list(); });
  document.getElementById("unbrush").addEventListener("click", () => columns.forEach(c => brush(c, null)));
  addEventListener("explorer-chosen", mark);

  // ---- begun when the section is about to be seen
  const begin = async () => {
    if (columns.length && ran.length) { drawLines(); numbers(); mark(); } else svg.remove();
    if (data.any && selects[0] && ran.length) {
      const options = columns.map(c => [c.name, c.title]);
      const has = n => options.some(([o]) => o === n);
      selects.forEach((s, k) => {
        for (const [value, text] of options) s.append(element("option", text, { value }));
        s.value = [["mode_connectivity", "cka", options[0] && options[0][0]], ["test_accuracy_percent", options[options.length - 1] && options[options.length - 1][0]]][k].find(has);
        s.addEventListener("change", against);
      });
      await against();
    }
    const inline = Object.fromEntries(Object.entries(details).filter(([, d]) => d.models).map(([c, d]) => [c, d.models]));
    if (Object.keys(inline).length && !data.files) gather(inline);
    else if (data.modelsFile) {
      const button = document.getElementById("load-models");
      button.hidden = false;
      button.addEventListener("click", () => {
        window.explorerModels = gather;
        document.head.append(element("script", null, { src: data.modelsFile }));
      });
    }
    if (columns.length && ran.length) narrow();
    document.documentElement.dataset.explore = "yes";
  };
  const watch = new IntersectionObserver(entries => { if (entries.some(e => e.isIntersecting)) { watch.disconnect(); begin(); } }, { rootMargin: "800px" });
  watch.observe(document.getElementById("explore"));
})();
