(() => {
  const { read, data, expand, copy } = common;
  const details = read("details");
  const cells = expand(data.cells);
  const byId = new Map(cells.map(r => [String(r.cell_id), r]));
  const axes = Object.fromEntries(data.axes.map(a => [a.name, a]));
  const plane = {}; // axis -> the value shown where it is not drawn
  const mapAxes = { right: data.right, up: data.up }; // the two axes that the maps draw
  const views = [];
  let chosen = "";

  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
    return made;
  };
  const short = v => {
    if (v === null || v === undefined) return "–";
    if (typeof v !== "number") return String(v);
    if (Number.isInteger(v)) return v.toLocaleString("en");
    const size = Math.abs(v);
    return (size >= 1000 ? v.toFixed(0) : size < 1e-3 ? v.toExponential(1) : String(Number(v.toPrecision(3)))).replace("-", "−");
  };
  const table = (heads, rows) => {
    const made = element("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    for (const h of heads) head.append(element("th", h, { scope: "col", class: "num" }));
    for (const row of rows) {
      const line = body.insertRow();
      for (const v of row) {
        const cell = v instanceof Node ? element("td") : element("td", short(v));
        if (v instanceof Node) cell.append(v);
        cell.className = typeof v === "string" && v.length > 12 ? "error" : "num";
        line.append(cell);
      }
    }
    const box = element("div", null, { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" });
    box.append(made);
    return box;
  };

  // ---- charts of cells
  const at = others => cells.filter(r => others.every(n => String(r[n]) === String(plane[n])));
  const others = () => data.axes.map(a => a.name).filter(n => n !== mapAxes.right && n !== mapAxes.up);
  const slider = document.getElementById("round");
  const rounds = data.rounds || [];
  const places = new Map(cells.map((r, k) => [r, k]));
  const then = r => { // the row as it was after the round of the slider
    const { predicted, probability } = rounds[slider.value - 1], k = places.get(r);
    return predicted[k] && !r.predicted
      ? { ...r, phase: "", second_phase: "", phase_probability: null, note: "not run yet", predicted: predicted[k], predicted_probability: probability[k] }
      : { ...r, predicted: predicted[k], predicted_probability: probability[k] };
  };
  const shown = f => {
    const rows = at(f && !isMap(f) ? data.others : others());
    return slider && f && f.id === "phase-map" ? rows.map(then) : rows;
  };
  const isMap = f => f.id === "phase-map" || f.id.startsWith("map-");
  const turned = f => { // a map's spec for the two axes that were chosen
    if (!isMap(f) || (mapAxes.right === data.right && mapAxes.up === data.up)) return f.spec;
    const spec = structuredClone(f.spec), field = n => n.replace(/[\\.[\]]/g, "\\$&");
    spec.height = (f.id === "phase-map" ? 38 : 27) * Math.max(axes[mapAxes.up].values.length, 4);
    for (const layer of spec.layer) {
      const { x, y, tooltip } = layer.encoding || {};
      if (x && y) {
        Object.assign(x, { field: field(mapAxes.right), sort: axes[mapAxes.right].values, title: axes[mapAxes.right].title });
        Object.assign(y, { field: field(mapAxes.up), sort: axes[mapAxes.up].upwards, title: axes[mapAxes.up].title });
      }
      if (Array.isArray(tooltip)) [mapAxes.right, mapAxes.up].forEach((n, k) => { tooltip[k] = { ...tooltip[k], field: field(n), title: axes[n].short }; });
    }
    return spec;
  };
  const csv = (names, rows) => [names, ...rows.map(r => names.map(n => r[n]))].map(line => line.map(v => {
    const text = v === null || v === undefined ? "" : String(v);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }).join(",")).join("\n");
  const saveRows = (box, spec, rows) => { // beside SVG and PNG: the rows that the chart shows
    const menu = box.querySelector(".vega-actions"), text = JSON.stringify(spec.layer || spec);
    if (!menu || !rows.length) return;
    const names = Object.keys(rows[0]).filter(n => n === "cell_id" || axes[n] || new RegExp(`["']${n}(_label)?["']`).test(text));
    const link = element("a", "Save as CSV", { href: "#", download: `${box.id}.csv` });
    link.addEventListener("click", () => { link.href = URL.createObjectURL(new Blob([csv(names.flatMap(n => (`${n}_std` in rows[0] ? [n, `${n}_std`] : [n])), rows)], { type: "text/csv" })); });
    menu.append(link);
  };
  const embed = async (box, spec, rows, title) => {
    const view = await common.embed(box, spec, rows, title);
    saveRows(box, spec, rows);
    return view;
  };
  const tell = (name, value) => views.forEach(v => v.view.signal(name, value).runAsync());
  const listen = view => {
    const over = item => (item && item.datum && byId.has(String(item.datum.cell_id)) ? String(item.datum.cell_id) : "");
    view.addEventListener("mouseover", (_, item) => { if (over(item)) tell("marked", over(item)); });
    view.addEventListener("mouseout", (_, item) => { if (over(item)) tell("marked", ""); });
    view.addEventListener("click", (_, item) => { if (over(item)) choose(over(item), true); });
  };
  const scattered = f => /^(against|local|claim)/.test(f.id) && !JSON.stringify(f.spec).includes('"line"'); // shows every plane
  const drawing = new Map(); // figure's id -> promise of its view
  const draw = f => {
    if (!drawing.has(f.id)) drawing.set(f.id, (async () => {
      const box = document.getElementById(f.id), all = scattered(f);
      const view = await embed(box, turned(f), all ? cells : shown(f), document.getElementById(`${f.id}-title`).textContent);
      views.push({ view, all, name: f.spec.data.name, figure: f });
      if (chosen) view.signal("chosen", chosen).runAsync();
      listen(view);
    })());
    return drawing.get(f.id);
  };
  const pause = () => new Promise(done => (window.requestIdleCallback ? requestIdleCallback(done, { timeout: 200 }) : setTimeout(done, 20)));
  const ALL_AT_ONCE = 400; // cells: with more, a chart is drawn when it is about to be seen
  const drawCells = async () => {
    const near = f => { const box = document.getElementById(f.id).getBoundingClientRect(); return box.top < innerHeight * 1.2 && box.bottom > -innerHeight; };
    const byBox = new Map(data.figures.map(f => [document.getElementById(f.id), f]));
    for (const f of data.figures.filter(near)) await draw(f);
    document.documentElement.dataset.ready = "yes";
    const watch = new IntersectionObserver(entries => entries.forEach(e => { if (e.isIntersecting) { watch.unobserve(e.target); draw(byBox.get(e.target)); } }), { rootMargin: "600px" });
    byBox.forEach((_, box) => watch.observe(box));
    addEventListener("beforeprint", () => data.figures.forEach(draw));
    if (cells.length <= ALL_AT_ONCE) for (const f of data.figures) { await pause(); await draw(f); }
    document.documentElement.dataset.drawn = "yes";
  };
  const fillTables = () => document.querySelectorAll("details.behind[open][data-measure]").forEach(pivot);
  const redraw = () => {
    for (const v of views) if (!v.all) v.view.data(v.name, copy(shown(v.figure))).runAsync();
    fillTables();
  };
  const turnMaps = async (way, name) => {
    const back = way === "right" ? "up" : "right";
    if (mapAxes[back] === name) mapAxes[back] = mapAxes[way];
    mapAxes[way] = name;
    document.querySelectorAll("select[data-way]").forEach(s => { s.value = mapAxes[s.dataset.way]; });
    document.querySelectorAll("select[data-axis]").forEach(s => { s.parentElement.hidden = !others().includes(s.dataset.axis); });
    for (const f of data.figures.filter(g => isMap(g) && drawing.has(g.id))) {
      const old = views.findIndex(v => v.figure === f);
      if (old >= 0) views.splice(old, 1)[0].view.finalize();
      drawing.delete(f.id);
      await draw(f);
    }
    fillTables();
  };
  const pivot = box => {
    const name = box.dataset.measure, rows = shown(), right = axes[mapAxes.right], up = mapAxes.up ? axes[mapAxes.up].upwards : [null];
    const find = (x, y) => rows.find(r => String(r[mapAxes.right]) === String(x) && (y === null || String(r[mapAxes.up]) === String(y)));
    const lines = up.map(y => [y === null ? data.measures[name].title : y, ...right.values.map(x => {
      const r = find(x, y);
      return r ? element("button", r[`${name}_text`], { type: "button", "data-cell": r.cell_id }) : "–";
    })]);
    const corner = mapAxes.up ? `${axes[mapAxes.up].short} ↓ · ${right.short} →` : right.short;
    box.querySelector(".scroll").replaceChildren(table([corner, ...right.values], lines));
  };

  // ---- one cell
  const ask = cell => new Promise(done => {
    if (details[cell] || !data.files || !data.files[cell]) return done(details[cell] || {});
    window.explorerDetails = (id, content) => { details[id] = content; };
    const script = element("script", null, { src: data.files[cell] });
    script.onload = script.onerror = () => done(details[cell] || {});
    document.head.append(script);
  });
  const place = row => data.axes.map(a => `${a.short} ${row[a.name]}`).join(", ") || String(row.cell_id);
  const facts = row => {
    const first = element("dl", null, { class: "facts" }), rest = element("dl", null, { class: "facts" }), more = element("details");
    const add = (list, k, v) => list.append(element("dt", k), element("dd", v));
    if (row.phase_shares) add(first, "Phase probabilities, over replicates and cuts", row.phase_shares);
    add(first, "Models (lost), pairs", row.n_models || row.n_pairs ? `${row.n_models} (${row.n_diverged}), ${row.n_pairs}` : "unknown");
    const known = Object.entries(data.measures).filter(([name]) => row[name] !== null);
    known.forEach(([name, m], i) => add(i < 7 ? first : rest, m.title, row[`${name}_text`]));
    more.append(element("summary", "More measures"), rest);
    return known.length > 7 ? [first, more] : [first];
  };
  const advice = cell => {
    const mine = data.advice && data.advice[cell];
    if (!mine) return [];
    const [cause, change, sure] = mine, text = element("p", null, { class: "why" });
    text.append(element("b", `Next: ${change}`), ` (${sure}). What holds it back: ${cause}.`);
    return [text];
  };
  let drawn = [];
  let turn = 0;
  const show = async cell => {
    const row = byId.get(cell), mine = ++turn;
    const body = document.getElementById("cell-body"), charts = document.getElementById("cell-charts"), tables = document.getElementById("cell-tables");
    const badge = element("p");
    const colours = document.querySelectorAll(".key .phase");
    const like = [...colours].find(c => c.textContent === row.phase);
    if (like) badge.append(like.cloneNode(true), `${row.phase_reading || like.nextSibling.textContent.trim()}${row.near_cut ? `; near the cut of ${row.near_cut}` : ""}`);
    else if (row.predicted) badge.append(`not run; phase ${row.predicted} is predicted, with a probability of ${Math.round(100 * row.predicted_probability)} %`);
    else badge.append(row.note || "phase unknown: a measure is missing");
    body.replaceChildren(element("p", place(row), { class: "place" }), badge, ...facts(row), ...advice(cell));
    const content = await ask(cell);
    if (mine !== turn) return;
    const rows = {
      curves: (content.c || []).flatMap(([pair, path, t, error, loss]) =>
        t.map((x, i) => ({ pair, path, t: x, train_error_percent: error[i], train_loss: loss[i] }))),
      spectra: (content.s || []).flatMap(([seed, nodes, weights]) => nodes.map((x, i) => ({ seed, eigenvalue: x, weight: weights[i] }))),
      histories: (content.h || []).flatMap(([seed, step, loss, accuracy]) =>
        step.map((x, i) => ({ seed, step: x, train_loss: loss[i] > 0 ? loss[i] : null, test_accuracy_percent: accuracy[i] }))),
    };
    drawn.forEach(v => v.finalize());
    drawn = [];
    charts.replaceChildren();
    for (const f of data.detailFigures) {
      if (!rows[f.rows].length) continue;
      const box = element("div", null, { class: "chart", id: f.id });
      charts.append(element("h3", f.title), box);
      const view = await embed(box, f.spec, rows[f.rows], `${f.title}, ${place(row)}`);
      if (mine !== turn) { view.finalize(); return; }
      drawn.push(view);
    }
    if (rows.curves.length) charts.append(element("p", "Thin lines are pairs of models, the bold line is the mean over pairs. A hump between the ends is a barrier.", { class: "note" }));
    tables.replaceChildren();
    const list = (title, source, heads) => {
      if (!source) return;
      const lines = expand(source), kept = Object.entries({ ...heads, ...Object.fromEntries(Object.entries(data.heads).filter(([n]) => n in heads)) }).filter(([n]) => n in source && (n !== "error" || lines.some(l => l.error)));
      tables.append(element("h3", title), table(kept.map(([, h]) => h), lines.map(l => kept.map(([n]) => l[n]))));
    };
    list("Replicates", content.models, {
      seed: "Seed", status: "Status", test_accuracy_percent: "Test acc. (%)", bleu: "BLEU", test_perplexity: "Test perplexity", train_loss: "Train loss (nats)", train_error_percent: "Train error (%)",
      hessian_top_eigenvalue: "Top eigenv.", hessian_trace: "Trace", hessian_trace_stderr: "± s.e.", steps: "Steps", wall_s: "Time (s)", error: "Error" });
    list("Pairs", content.pairs, {
      seed_a: "Seed", seed_b: "and", status: "Status", mode_connectivity: "mc (points)", loss_barrier: "Loss barrier", linear_barrier: "Linear barrier", cka: "CKA", l2_distance: "L2", error: "Error" });
    document.getElementById("cell").dataset.cell = cell;
  };
  const choose = (cell, go) => {
    const row = byId.get(cell);
    if (!row) return;
    chosen = cell;
    let moved = false;
    document.querySelectorAll("select[data-axis]").forEach(s => {
      const at = axes[s.dataset.axis].values.findIndex(v => String(v) === String(row[s.dataset.axis]));
      if (at >= 0 && Number(s.value) !== at) { s.value = at; plane[s.dataset.axis] = axes[s.dataset.axis].values[at]; moved = true; }
    });
    if (moved) redraw();
    tell("chosen", cell);
    dispatchEvent(new CustomEvent("explorer-chosen", { detail: cell }));
    if (go) {
      history.replaceState(null, "", `#cell=${encodeURIComponent(cell)}`);
      const aside = document.getElementById("cell"), box = aside.getBoundingClientRect();
      if (box.top > innerHeight * 0.7 || box.bottom < 80) {
        came = scrollY;
        back.hidden = false;
        aside.scrollIntoView({ behavior: "auto", block: "start" });
      }
      aside.focus({ preventScroll: true });
    }
    show(cell);
  };
  const back = document.getElementById("back");
  let came = 0; // where a reader on a narrow screen clicked
  back.addEventListener("click", () => { back.hidden = true; scrollTo(0, came); });
  const linked = () => {
    const found = /^#cell=(.+)$/.exec(location.hash);
    if (!found) return "";
    try { return decodeURIComponent(found[1]); } catch { return ""; }
  };

  // ---- the page
  if (slider) slider.addEventListener("input", () => {
    document.getElementById("round-text").textContent = rounds[slider.value - 1].text;
    for (const v of views.filter(v => v.name && v.figure.id === "phase-map")) v.view.data(v.name, copy(shown(v.figure))).runAsync();
  });
  const first = byId.get(linked()) || byId.get(data.best) || cells[0];
  document.querySelectorAll("select[data-axis]").forEach(s => {
    const all = axes[s.dataset.axis].values;
    const at = Math.max(0, first ? all.findIndex(v => String(v) === String(first[s.dataset.axis])) : 0);
    s.value = at;
    plane[s.dataset.axis] = all[at];
    s.addEventListener("change", () => { plane[s.dataset.axis] = all[Number(s.value)]; redraw(); });
  });
  document.querySelectorAll("select[data-way]").forEach(s => s.addEventListener("change", () => turnMaps(s.dataset.way, s.value)));
  document.addEventListener("click", e => {
    const target = e.target instanceof Element && e.target.closest("[data-cell]");
    if (target && target.tagName === "BUTTON") choose(target.dataset.cell, true);
  });
  document.querySelectorAll("details.behind[data-measure]").forEach(d => d.addEventListener("toggle", () => { if (d.open) pivot(d); }));
  addEventListener("hashchange", () => { const cell = linked(); if (cell && cell !== chosen) choose(cell, true); });
  if (first) choose(String(first.cell_id), Boolean(linked()));
  window.explorerPage = { data, details, cells, byId, element, short, embed, expand, copy, listen, views, chosen: () => chosen };
  drawCells();
})();
