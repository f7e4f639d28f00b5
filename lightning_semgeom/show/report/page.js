"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = data.colours;
const DIVERGING = [[0, "#053061"], [0.25, "#4393c3"], [0.5, "#f7f7f7"], [0.75, "#d6604d"], [1, "#67001f"]];
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const PLAIN = { responsive: true, displayModeBar: false };
const FONT = { family: "system-ui, sans-serif", size: 12, color: "#222222" };
const BELOW = { orientation: "h", x: 0, y: -0.2, yanchor: "top" };
const MOST_VALUES = 40;
const element = (id) => document.getElementById(id);

// The place has the picture's height: a resized picture takes all of its place, and no more.
function plot(id, traces, layout, config) {
  element(id).style.height = `${layout.height}px`;
  Plotly.react(id, traces, layout, config);
}

const isNarrow = matchMedia("(max-width: 600px)");

// On a phone the names stand below a timeline, where they leave it its width, and steps are fewer.
function fitted(figure) {
  const layout = structuredClone(figure.layout); // Plotly writes sizes into what it is given
  if (!isNarrow.matches) return layout;
  for (const axis of [layout.xaxis, layout.xaxis2]) {
    const isShown = axis.ticktext.map((text) => text.startsWith("1"));
    axis.tickvals = axis.tickvals.filter((_, number) => isShown[number]);
    axis.ticktext = axis.ticktext.filter((_, number) => isShown[number]);
    axis.tickangle = 0;
  }
  layout.margin.l = 50;
  layout.height += 20 * figure.data.filter((trace) => trace.name && trace.showlegend !== false).length;
  layout.legend = { ...BELOW };
  return layout;
}

function drawTimelines() {
  Object.values(data.timelines).forEach((figure, number) =>
    plot(`timeline-${number}`, figure.data, fitted(figure), CONFIG)
  );
}

drawTimelines();
isNarrow.addEventListener("change", () => {
  drawTimelines();
  if (data.pictures.length) draw();
});

data.layers.forEach((figure, number) =>
  plot(`layers-${number}`, figure.data, figure.layout, CONFIG)
);

// One lookup a picture: its cosines are unpacked when it is first shown.
function cosines(picture) {
  if (!picture.cosines) {
    const bytes = Uint8Array.from(atob(picture.gram), (c) => c.charCodeAt(0));
    const flat = new Int16Array(bytes.buffer);
    const cells = picture.rows.length;
    picture.cosines = Array.from({ length: cells }, (_, i) =>
      Array.from(flat.subarray(i * cells, (i + 1) * cells), (v) => (v === -32768 ? null : v / data.scale))
    );
  }
  return picture.cosines;
}

// Long names in lines below each other: a margin takes half of a picture at most.
function wrapped(text) {
  const lines = isNarrow.matches ? /(.{1,18})(?:\s+|$)/g : /(.{1,30})(?:\s+|$)/g;
  return text.replace(lines, "$1<br>").replace(/<br>$/, "");
}

const named = (labels) => labels.filter((label) => label).join(" · ") || "not labelled";

function layout(more) {
  return { font: FONT, paper_bgcolor: "white", plot_bgcolor: "white", height: 420,
    margin: { l: 60, r: 10, t: 10, b: 45 }, showlegend: false, ...more };
}

function drawGram(picture) {
  const z = cosines(picture);
  const names = picture.labels.map(named);
  const text = z.map((row, i) =>
    row.map((v, j) => `${names[i]} × ${names[j]}<br>${v === null ? "undefined" : v.toFixed(3)}`)
  );
  const cells = z.length;
  const width = Math.max(cells / 28, 0.5);
  const shapes = [];
  const ticks = [];
  let first = -0.5;
  let room = 0;
  picture.bands.forEach(([name, count], number) => {
    const fill = { type: "rect", line: { width: 0 }, fillcolor: COLOURS[number % COLOURS.length] };
    shapes.push({ ...fill, x0: -0.5 - width, x1: -0.5, y0: first, y1: first + count });
    shapes.push({ ...fill, y0: -0.5 - width, y1: -0.5, x0: first, x1: first + count });
    room += count;
    if (room >= cells / 24) {
      ticks.push([first + count / 2, wrapped(name || "not labelled")]);
      room = 0;
    }
    first += count;
  });
  const axis = { showgrid: false, zeroline: false, constrain: "domain" };
  const range = [-0.5 - width, cells - 0.5];
  plot("gram", [{
    type: "heatmap", z, text, hoverinfo: "text", zmin: -1, zmax: 1, colorscale: DIVERGING,
    colorbar: { title: { text: "cosine", side: "right" }, thickness: 12 },
  }], layout({
    shapes,
    margin: { l: 20, r: 10, t: 10, b: 20 },
    xaxis: { ...axis, range, showticklabels: false },
    yaxis: { ...axis, range: range.slice().reverse(), scaleanchor: "x", ticks: "", automargin: true,
      tickvals: ticks.map((t) => t[0]), ticktext: ticks.map((t) => t[1]) },
  }), PLAIN);
  const rows = picture.rows.reduce((a, b) => a + b, 0);
  element("gram-caption").textContent =
    `${rows} rows in the order of ${picture.attributes.join(", ")}` +
    (rows > cells ? `; each line is the mean of about ${Math.round(rows / cells)}.` : ".");
}

function drawValues(picture) {
  const shown = picture.values.slice().sort((a, b) => b[2] - a[2]).slice(0, MOST_VALUES);
  const kept = picture.values.filter((value) => shown.includes(value));
  const names = kept.map((value) => wrapped(`${value[1]} (${value[0]})`));
  const lines = Math.max(1, ...names.map((name) => name.split("<br>").length));
  plot("values", [{
    type: "bar", orientation: "h",
    y: kept.map((_, number) => number),
    x: kept.map((value) => value[3]),
    text: kept.map((value) => `${value[0]}: ${value[1]}, ${value[2]} rows`),
    textposition: "none",
    hovertemplate: "%{text}<br>%{x:.3f}<extra></extra>",
    marker: { color: kept.map((value) => COLOURS[picture.attributes.indexOf(value[0]) % COLOURS.length]) },
  }], layout({
    height: Math.max(420, 60 + 16 * lines * kept.length),
    margin: { l: 20, r: 10, t: 10, b: 45 },
    xaxis: { range: [-0.3, 1], zerolinecolor: "#999999", gridcolor: "#e8e8e8", title: { text: "mean cosine" } },
    yaxis: { autorange: "reversed", automargin: true, tickvals: kept.map((_, number) => number),
      ticktext: names },
  }), PLAIN);
}

function drawMap(picture) {
  const attribute = Math.max(picture.attributes.indexOf(element("colour").value), 0);
  const groups = new Map();
  picture.map.forEach((place, cell) => {
    const label = picture.labels[cell][attribute] || "not labelled";
    groups.set(label, [...(groups.get(label) || []), cell]);
  });
  let number = 0;
  const traces = [...groups].map(([name, cells]) => ({
    type: "scatter", mode: "markers", name: wrapped(name),
    x: cells.map((cell) => picture.map[cell][0]),
    y: cells.map((cell) => picture.map[cell][1]),
    text: cells.map((cell) => named(picture.labels[cell])),
    hoverinfo: "text",
    marker: { size: 8, color: name === "not labelled" ? "#cccccc" : COLOURS[number++ % COLOURS.length],
      line: { color: "white", width: 0.5 } },
  }));
  const axis = { range: [-1, 1], gridcolor: "#e8e8e8", zerolinecolor: "#cccccc" };
  plot("map", traces, layout({
    showlegend: groups.size <= 14,
    ...(isNarrow.matches && { height: 420 + 20 * Math.min(groups.size, 14), legend: { ...BELOW } }),
    xaxis: { ...axis, constrain: "domain" },
    yaxis: { ...axis, scaleanchor: "x" },
  }), PLAIN);
}

function drawShared(picture) {
  plot("shared", [{
    type: "bar",
    x: picture.shared.map((bar) => bar[0]),
    y: picture.shared.map((bar) => bar[1]),
    text: picture.shared.map((bar) => `${bar[2].toLocaleString("en")} pairs`),
    textposition: "outside",
    hovertemplate: "%{x} shared: %{y:.3f}, %{text}<extra></extra>",
    marker: { color: picture.shared.map((bar) => (bar[0] ? COLOURS[0] : "#b5c7dc")) },
  }], layout({
    xaxis: { dtick: 1, title: { text: "shared attributes" } },
    yaxis: { range: [-0.4, 1.1], gridcolor: "#e8e8e8", zerolinecolor: "#999999", title: { text: "mean cosine" } },
  }), PLAIN);
}

function fill(select, names) {
  const before = select.value;
  select.replaceChildren(...names.map((name, value) => new Option(name, select.id === "run" ? value : name)));
  if (names.includes(before)) select.value = before;
}

const ofRun = () => data.pictures[Number(element("run").value)];
const ofSite = () => ofRun().sites[element("site").value] || [];

function draw() {
  const picture = ofSite()[Number(element("step").value)];
  element("step-now").value = picture.step;
  element("step").setAttribute("aria-valuetext", `step ${picture.step}`);
  drawGram(picture);
  drawValues(picture);
  drawMap(picture);
  drawShared(picture);
}

function toStep(number) {
  element("step").max = ofSite().length - 1;
  element("step").value = number;
  fill(element("colour"), ofSite()[0].attributes);
  draw();
}

function toPeak() {
  const wanted = ofRun().peaks[element("site").value];
  const distances = ofSite().map((picture) => Math.abs(picture.step - wanted));
  toStep(distances.indexOf(Math.min(...distances)));
}

function toRun() {
  fill(element("site"), Object.keys(ofRun().sites));
  toPeak();
}

data.pictures = data.pictures.filter((run) => Object.keys(run.sites).length);
if (data.pictures.length) {
  fill(element("run"), data.pictures.map((run) => run.run));
  element("run-field").hidden = data.pictures.length < 2;
  const steps = data.pictures.flatMap((run) => Object.values(run.sites).map((shown) => shown.length));
  element("step-field").hidden = element("to-peak").hidden = Math.max(...steps) < 2;
  element("run").addEventListener("change", toRun);
  element("site").addEventListener("change", toPeak);
  element("step").addEventListener("input", draw);
  element("colour").addEventListener("change", draw);
  element("to-peak").addEventListener("click", toPeak);
  toRun();
} else {
  element("pictures").hidden = true;
}
