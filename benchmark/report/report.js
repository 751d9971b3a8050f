"use strict";
// The report's behaviour: what is shown, sorting, filtering, charts. Needs `d3` and `Plot`.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
  const SYMBOLS = ["circle", "square2", "triangle", "diamond2", "star", "cross", "wye"];
  const state = { group: data.first, metric: null, label: null, repeat: null, raw: false, hidden: new Set() };

  // one look a model, the same in every chart: colour, dash and symbol
  const looks = new Map();
  let learnt = 0;
  for (const model of data.models) {
    const n = model.is_floor || model.is_ceiling ? null : learnt++;
    looks.set(model.name, {
      colour: model.is_ceiling ? "currentColor" : n === null ? "var(--cf)" : `var(--c${n % 8})`,
      dash: model.is_ceiling ? "" : n === null ? "1 3" : DASHES[(n + Math.floor(n / 8)) % DASHES.length],
      symbol: n === null ? "times" : SYMBOLS[n % SYMBOLS.length],
      width: n === null ? 1.2 : 1.8,
    });
  }
  const look = (row) => looks.get(row.model);
  const group = () => data.groups[state.group];
  const board = () => group().boards.find((one) => one.metric === state.metric);
  const aside = (row) => data.models.some((one) => one.name === row.model && (one.is_floor || one.is_ceiling));
  const seen = (row) => !state.hidden.has(row.model);
  const text = (value, digits = 3) => (value === null || value === undefined ? "—" : value.toFixed(digits));

  function option(value, shown = value) {
    const found = document.createElement("option");
    found.value = value;
    found.textContent = shown;
    return found;
  }

  function offer(select, values, chosen, shown = (value) => value) {
    select.replaceChildren(...values.map((value) => option(value, shown(value))));
    select.value = values.includes(chosen) ? chosen : values[0];
    select.closest("label").hidden = values.length < 2;
    return select.value;
  }

  // ---- what is shown -------------------------------------------------------------------------

  const PLACE = ["task", "split", "as_of"];

  /** Offer what is there, keep what was chosen where it still is. */
  function choose(wanted) {
    let left = data.groups.map((one, number) => ({ ...one, number }));
    for (const name of PLACE) {
      const values = [...new Set(left.map((one) => one[name]))];
      const chosen = offer($(`pick-${name}`), values, wanted[name]);
      left = left.filter((one) => one[name] === chosen);
    }
    state.group = left[0].number;
    const { boards, labels, kind, repeats } = group();
    const titles = new Map(boards.map((one) => [one.metric, one.title]));
    state.metric = offer($("pick-metric"), [...titles.keys()], state.metric, (name) => titles.get(name));
    const usual = kind === "binary" ? labels[1] : labels[0];
    state.label = offer($("pick-label"), labels, labels.includes(state.label) ? state.label : usual);
    state.repeat = offer($("pick-repeat"), repeats, state.repeat);
    show();
  }

  function show() {
    for (const part of all(".group")) part.hidden = Number(part.dataset.group) !== state.group;
    for (const part of all(".board")) part.hidden = part.dataset.metric !== state.metric;
    if ($("labels")) $("labels").hidden = !all("#labels .group").some((part) => !part.hidden);
    const { task, split, as_of } = group();
    for (const place of all("[data-here]")) place.textContent = `${task}, ${split} split, as of ${as_of}`;
    filter();
    legend();
    draw();
  }

  // ---- tables --------------------------------------------------------------------------------

  function sortable(table) {
    for (const head of all("thead th:not(.no-sort)", table)) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, head));
    }
  }

  function sort(table, head) {
    const before = head.getAttribute("aria-sort");
    const turned = { ascending: "descending", descending: "ascending" };
    const direction = before ? turned[before] : head.dataset.first;
    for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      const found = cell.dataset.v ?? cell.textContent.trim();
      return found === "" || Number.isNaN(Number(found)) ? found : Number(found);
    };
    const order = direction === "ascending" ? 1 : -1;
    const rows = all("tbody tr", table).map((row) => ({ row, v: value(row) }));
    rows.sort((a, b) => {
      if ((a.v === "") !== (b.v === "")) return a.v === "" ? 1 : -1; // what is missing comes last
      if (typeof a.v === "number" && typeof b.v === "number") return order * (a.v - b.v);
      return order * String(a.v).localeCompare(String(b.v), undefined, { numeric: true });
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
  }

  function filter() {
    const wanted = $("filter").value.trim().toLowerCase();
    const floors = $("floors").checked;
    let shown = 0;
    let total = 0;
    for (const row of all(".board tbody tr")) {
      row.hidden = !row.dataset.name.includes(wanted) || (!floors && row.classList.contains("aside"));
      if (row.closest(".group").hidden || row.closest(".board").hidden) continue;
      total += 1;
      shown += row.hidden ? 0 : 1;
    }
    $("shown").textContent = `${shown} of ${total} models`;
  }

  // ---- looks and legend ----------------------------------------------------------------------

  function keyOf(name) {
    const { colour, dash, symbol, width } = looks.get(name);
    const svg = d3.create("svg").attr("width", 24).attr("height", 12).attr("aria-hidden", "true");
    svg.append("line").attr("x1", 0).attr("x2", 24).attr("y1", 6).attr("y2", 6)
      .attr("stroke-dasharray", dash || null).attr("stroke-width", width + 0.4).style("stroke", colour);
    const shapes = { square2: d3.symbolSquare2, diamond2: d3.symbolDiamond2, triangle: d3.symbolTriangle,
      star: d3.symbolStar, cross: d3.symbolCross, wye: d3.symbolWye, times: d3.symbolTimes };
    svg.append("path").attr("d", d3.symbol(shapes[symbol] ?? d3.symbolCircle, 36)())
      .attr("transform", "translate(12,6)").attr("stroke-width", 1.5)
      .style("fill", "var(--paper)").style("stroke", colour);
    return svg.node();
  }

  function legend() {
    const here = new Set(group().boards[0].rows.map((row) => row.model));
    const names = data.models.map((model) => model.name).filter((name) => here.has(name));
    for (const place of all(".legend")) place.replaceChildren(...names.map(toggle));
  }

  /** A button that takes a model out of the charts, or puts it back. */
  function toggle(name) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.model = name;
    button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
    button.append(keyOf(name), ` ${name}`);
    button.addEventListener("click", () => {
      if (!state.hidden.delete(name)) state.hidden.add(name);
      for (const other of all(".legend button")) {
        other.setAttribute("aria-pressed", String(!state.hidden.has(other.dataset.model)));
      }
      draw();
    });
    return button;
  }

  // ---- charts --------------------------------------------------------------------------------

  const STYLE = { background: "none", fontFamily: "inherit", fontSize: "12px", overflow: "visible" };
  const identity = { type: "identity" };
  const stroke = (row) => look(row).colour;

  /** Put a chart in its figure; without `spec` the figure is hidden. */
  function plot(id, spec) {
    const figure = $(id);
    if (!figure) return false;
    figure.hidden = !spec;
    const place = figure.querySelector(".chart");
    place.replaceChildren();
    if (!spec) return false;
    const width = Math.max(260, Math.min(place.clientWidth || 420, 900));
    const options = typeof spec === "function" ? spec(width) : spec;
    const label = figure.querySelector("figcaption").textContent.trim().replace(/\s+/g, " ");
    place.append(Plot.plot({
      width, height: 300, marginLeft: 46, marginBottom: 38, grid: true, style: STYLE,
      color: identity, ariaLabel: label, ...options,
    }));
    return true;
  }

  /** A line a model, each with its own dash, which a single mark can't have. */
  function lines(rows, channels) {
    return d3.groups(rows, (row) => row.model, (row) => row.dash ?? "").flatMap(([name, parts]) =>
      parts.map(([dash, part]) => {
        const { colour, width } = looks.get(name);
        return Plot.line(part, { ...channels, z: "series", stroke: colour, strokeWidth: width,
          strokeDasharray: dash || looks.get(name).dash || undefined });
      }));
  }

  function dots(rows, channels) {
    return Plot.dot(rows, { ...channels, stroke, fill: "var(--paper)", symbol: (row) => look(row).symbol,
      r: 3.6, strokeWidth: 1.5 });
  }

  const tip = (rows, channels) => Plot.tip(rows, Plot.pointer({ ...channels, maxRadius: 30 }));

  function spread(curve, names) {
    return curve[names[0]].map((_, n) => ({
      model: curve.model, series: `${curve.model} ${curve.calibrated ?? ""}`,
      ...Object.fromEntries(names.map((name) => [name, curve[name][n]])),
    }));
  }

  const here = (curve) => seen(curve) && curve.label === state.label && curve.repeat === state.repeat;

  function drawCurves() {
    for (const kind of ["roc", "pr"]) {
      const rows = group().curves.filter((one) => here(one) && one.kind === kind)
        .flatMap((curve) => spread(curve, ["x", "y"]));
      const names = kind === "roc" ? ["false positive rate", "true positive rate"] : ["recall", "precision"];
      const base = kind === "pr" ? share(rows) : null;
      plot(`fig-${kind}`, rows.length && ((width) => ({
        height: Math.min(width, 420),
        x: { domain: [0, 1], label: names[0] }, y: { domain: [0, 1], label: names[1] },
        marks: [
          kind === "roc" ? Plot.line([[0, 0], [1, 1]], { stroke: "var(--cf)", strokeWidth: 1 })
            : base === null ? null : Plot.ruleY([base], { stroke: "var(--cf)" }),
          // a precision holds for all that is gained up to its recall
          ...lines(rows, { x: "x", y: "y", curve: kind === "pr" ? "step-before" : "linear" }),
          tip(rows, { x: "x", y: "y", title: (d) => `${d.model}\n${names[0]} ${text(d.x)}\n${names[1]} ${text(d.y)}` }),
        ],
      })));
    }
  }

  /** The precision of taking every row, where the curves end. */
  function share(rows) {
    const last = rows.filter((row) => row.x === 1);
    return last.length ? d3.min(last, (row) => row.y) : null;
  }

  function drawReliability() {
    const curves = group().reliability.filter(here);
    const both = new Set(curves.filter((one) => one.calibrated).map((one) => one.model));
    $("raw-label").hidden = both.size === 0;
    const rows = curves
      .filter((one) => one.calibrated || !both.has(one.model) || state.raw)
      .flatMap((one) => spread(one, ["said", "happened", "low", "high", "rows"])
        .map((row) => ({ ...row, raw: both.has(one.model) && !one.calibrated,
          dash: both.has(one.model) && !one.calibrated ? "1 4" : undefined })));
    const domain = d3.extent(rows.flatMap((row) => [row.said, row.happened]));
    plot("fig-rel", rows.length && ((width) => ({
      height: Math.min(width, 420),
      x: { label: "said: mean probability", domain, nice: true },
      y: { label: `happened: share of ${state.label}`, domain, nice: true },
      marks: [
        Plot.line([[0, 0], [1, 1]], { stroke: "var(--cf)", strokeWidth: 1, clip: true }),
        Plot.ruleX(rows, { x: "said", y1: "low", y2: "high", stroke, strokeOpacity: 0.35, clip: true }),
        ...lines(rows, { x: "said", y: "happened" }),
        dots(rows, { x: "said", y: "happened" }),
        tip(rows, { x: "said", y: "happened", title: (d) =>
          `${d.model}${d.raw ? " before calibration" : ""}\nsaid ${text(d.said)}\nhappened ${text(d.happened)} [${text(d.low)}, ${text(d.high)}]\n${d.rows} rows` }),
      ],
    })));
  }

  /** Models that no cheaper one is as good as, by rising cost. */
  function pareto(rows, cost, higher) {
    const found = [];
    const sign = higher ? 1 : -1;
    for (const row of d3.sort(rows, (one) => one[cost], (one) => -sign * one.value)) {
      if (!found.length || sign * row.value > sign * found.at(-1).value) found.push(row);
    }
    return found;
  }

  function drawCost() {
    const { rows, title, higher } = board();
    const costs = { fit: ["fig-fit", "seconds"], predict: ["fig-predict", "ms a row"], memory: ["fig-memory", "MiB"] };
    for (const [cost, [id, unit]] of Object.entries(costs)) {
      const known = rows.filter((row) => seen(row) && row[cost] > 0 && row.value !== null);
      const best = pareto(known.filter((row) => !aside(row)), cost, higher);
      const [least, most] = d3.extent(known, (row) => row[cost]);
      plot(id, known.length && {
        x: { type: most > 10 * least ? "log" : "linear", label: unit, nice: true, ticks: 5, tickFormat: "~r" },
        y: { label: title, nice: true },
        marks: [
          Plot.line(best, { x: cost, y: "value", curve: "step-after", stroke: "var(--cf)", strokeDasharray: "3 3" }),
          Plot.ruleX(known, { x: cost, y1: "low", y2: "high", stroke, strokeOpacity: 0.5 }),
          Plot.dot(known, { x: cost, y: "value", stroke, fill: "var(--paper)", symbol: (d) => look(d).symbol, r: 5, strokeWidth: 2 }),
          Plot.text(best.slice(-1), { x: cost, y: "high", text: "model", dy: -8, fill: "currentColor",
            textAnchor: best.at(-1)?.[cost] > (least + most) / 2 ? "end" : "start", stroke: "var(--paper)", strokeWidth: 4 }),
          tip(known, { x: cost, y: "value", title: (d) => `${d.model}\n${title} ${text(d.value)} [${text(d.low)}, ${text(d.high)}]\n${d3.format(".3~g")(d[cost])} ${unit}` }),
        ],
      });
    }
  }

  function drawTuning() {
    const rows = group().tuning.filter(seen).flatMap((one) => {
      let best = null;
      return one.trials.map((trial, n) => {
        if (trial.state === "complete" && trial.score !== null) best = Math.max(best ?? -Infinity, trial.score);
        return { model: one.model, series: `${one.model} ${one.repeat}`, trial: n + 1, best, ...trial,
          repeat: one.repeat, objective: one.objective, chosen: n === one.chosen };
      });
    });
    const scored = rows.filter((row) => row.score !== null);
    const what = rows.length ? rows[0].objective : "";
    return plot("fig-tuning", scored.length && {
      x: { label: "trial", ticks: d3.min([10, d3.max(scored, (row) => row.trial)]), tickFormat: "d" },
      y: { label: `${what} over inner folds`, nice: true },
      marks: [
        ...lines(rows.filter((row) => row.best !== null), { x: "trial", y: "best", curve: "step-after" }),
        Plot.dot(scored, { x: "trial", y: "score", fill: stroke, r: 2.5, fillOpacity: (d) => (d.state === "complete" ? 0.9 : 0.35) }),
        Plot.dot(scored.filter((row) => row.chosen), { x: "trial", y: "score", stroke, r: 7, strokeWidth: 2 }),
        tip(scored, { x: "trial", y: "score", title: (d) => `${d.model}, seed ${d.repeat}\ntrial ${d.trial}, ${d.state}${d.chosen ? ", chosen" : ""}: ${text(d.score)}\n${d.params.replaceAll(", ", "\n")}` }),
      ],
    });
  }

  function drawCourses() {
    let found = false;
    for (const [id, what] of [["fig-loss", "loss"], ["fig-f1", "f1_macro"]]) {
      const rows = group().courses.filter(seen).flatMap((one) => ["valid", "train"].flatMap((part) =>
        one.points.filter((point) => Number.isFinite(point[`${part}_${what}`])).map((point) => ({
          model: one.model, part, series: `${one.model} ${one.repeat} ${part}`, step: point.step, y: point[`${part}_${what}`],
          repeat: one.repeat, dash: part === "train" ? "3 3" : "1 0",
        }))));
      found = plot(id, rows.length && {
        x: { label: "step" }, y: { label: what === "loss" ? "loss" : "F1-macro", nice: true },
        marks: [
          ...lines(rows, { x: "step", y: "y" }),
          dots(rows.filter((row) => row.part === "valid"), { x: "step", y: "y" }),
          tip(rows, { x: "step", y: "y", title: (d) => `${d.model}, seed ${d.repeat}\n${d.part}, step ${d.step}: ${text(d.y)}` }),
        ],
      }) || found;
    }
    return found;
  }

  function drawYears() {
    const { title } = group().boards[0];
    const rows = group().years.flatMap((one) => one.models.filter((row) => seen(row) && row.value !== null)
      .map((row) => ({ ...row, series: row.model, year: one.value, n: one.rows })));
    const counts = new Map(group().years.map((one) => [one.value, one.rows]));
    plot("fig-years", rows.length && ((width) => ({
      height: 320, marginBottom: 50,
      x: { type: "point", label: null, tickFormat: (year) => (counts.size * 44 > width ? `’${year.slice(2)}` : `${year}\n${counts.get(year)} rows`) },
      y: { label: title, nice: true },
      marks: [
        Plot.ruleX(rows, { x: "year", y1: "low", y2: "high", stroke, strokeOpacity: 0.3 }),
        ...lines(rows, { x: "year", y: "value" }),
        dots(rows, { x: "year", y: "value" }),
        tip(rows, { x: "year", y: "value", title: (d) => `${d.model}, ${d.year}\n${title} ${text(d.value)} [${text(d.low)}, ${text(d.high)}]\n${d.n} rows` }),
      ],
    })));
  }

  function drawAcross() {
    if (!data.across) return;
    const { models, critical } = data.across;
    const rows = models.map((row) => ({ ...row, low: row.rank - critical / 2, high: row.rank + critical / 2 }));
    plot("fig-across", {
      height: 60 + 26 * rows.length, marginLeft: 150,
      x: { label: "mean rank" }, y: { domain: rows.map((row) => row.model), label: null },
      marks: [
        Plot.ruleY(rows, { y: "model", x1: "low", x2: "high", stroke, strokeWidth: 4, strokeOpacity: 0.45 }),
        dots(rows, { x: "rank", y: "model" }),
        tip(rows, { x: "rank", y: "model", title: (d) => `${d.model}\nmean rank ${text(d.rank, 2)}` }),
      ],
    });
  }

  function draw() {
    drawCurves();
    drawReliability();
    drawCost();
    const courses = [drawTuning(), drawCourses()];
    $("no-courses").hidden = courses.some(Boolean);
    drawYears();
    drawAcross();
  }

  // ---- start ---------------------------------------------------------------------------------

  for (const part of all(".by-script")) part.hidden = false;
  if (!data.groups.some((one) => one.tuning.length || one.courses.length)) {
    for (const part of all(".by-data")) part.hidden = true;
  }
  for (const place of all(".key")) place.append(keyOf(place.dataset.model));
  for (const table of all("table.sortable")) sortable(table);
  for (const name of PLACE) {
    $(`pick-${name}`).addEventListener("change", () =>
      choose(Object.fromEntries(PLACE.map((each) => [each, $(`pick-${each}`).value]))));
  }
  for (const [id, name] of [["pick-metric", "metric"], ["pick-label", "label"], ["pick-repeat", "repeat"]]) {
    $(id).addEventListener("change", (event) => { state[name] = event.target.value; show(); });
  }
  $("raw").addEventListener("change", (event) => { state.raw = event.target.checked; draw(); });
  $("filter").addEventListener("input", filter);
  $("floors").addEventListener("change", filter);
  for (const form of all("form")) form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of all("[data-open]")) {
    button.addEventListener("click", () => {
      choose(data.groups[Number(button.dataset.open)]);
      $("leaderboard").scrollIntoView();
      $("pick-split").focus({ preventScroll: true });
    });
  }
  let width = document.body.clientWidth;
  window.addEventListener("resize", () => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    draw();
  });
  choose(group());
})();
