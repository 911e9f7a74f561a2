"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const expand = table => { const names = Object.keys(table); return (names.length ? table[names[0]] : []).map((_, i) => Object.fromEntries(names.map(n => [n, table[n][i]]))); };
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();
  const plane = Object.fromEntries(data.others.map(n => [n, data.values[n][0]])), drawn = new Map();
  const shown = f => expand(data.sets[f.rows]).filter(r => data.others.every(n => String(r[n]) === String(plane[n])));
  const draw = async f => {
    const box = document.getElementById(f.id), title = document.getElementById(`${f.id}-title`).textContent;
    if (drawn.has(f.id)) drawn.get(f.id).finalize();
    const made = await vegaEmbed(box, { ...f.spec, datasets: { cells: shown(f) } }, {
      config: data.config, renderer: "svg", logLevel: 1, mode: "vega-lite", downloadFileName: f.id, tooltip: { disableDefaultStyle: true },
      actions: { export: true, source: false, compiled: false, editor: false } });
    drawn.set(f.id, made);
    const svg = box.querySelector("svg.marks");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
    for (const child of svg.children) child.setAttribute("aria-hidden", "true");
    box.querySelector("summary").setAttribute("aria-label", `Save the chart: ${title}`);
  };
  let turn = Promise.resolve();
  const redraw = () => { turn = turn.then(async () => { for (const f of data.figures) await draw(f); root.dataset.ready = root.dataset.drawn = "yes"; }); };
  document.querySelectorAll("select[data-axis]").forEach(s => {
    s.value = 0; // some browsers keep what was chosen before the page was loaded again
    s.addEventListener("change", () => { plane[s.dataset.axis] = data.values[s.dataset.axis][Number(s.value)]; redraw(); });
  });
  redraw();
})();
