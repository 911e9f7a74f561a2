(() => {
  const { data, expand, embed } = common;
  const plane = Object.fromEntries(data.others.map(n => [n, data.values[n][0]])), drawn = new Map();
  const shown = f => expand(data.sets[f.rows]).filter(r => data.others.every(n => String(r[n]) === String(plane[n])));
  const draw = async f => {
    if (drawn.has(f.id)) drawn.get(f.id).finalize();
    drawn.set(f.id, await embed(document.getElementById(f.id), f.spec, shown(f), document.getElementById(`${f.id}-title`).textContent));
  };
  let turn = Promise.resolve();
  const redraw = () => {
    turn = turn.then(async () => {
      for (const f of data.figures) await draw(f);
      document.documentElement.dataset.ready = document.documentElement.dataset.drawn = "yes";
    });
  };
  document.querySelectorAll("select[data-axis]").forEach(s => {
    s.value = 0; // some browsers keep what was chosen before the page was loaded again
    s.addEventListener("change", () => { plane[s.dataset.axis] = data.values[s.dataset.axis][Number(s.value)]; redraw(); });
  });
  redraw();
})();
