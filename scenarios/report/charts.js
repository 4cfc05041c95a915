"use strict";
// Draws the charts of a report with uPlot. What to draw is plain data in the page (chart.py makes it); colours are
// custom properties of the page's style, so that the same data fit a light page, a dark one and paper.
(() => {
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
  const HEIGHT = 250, HEAT_HEIGHT = 300, NARROW = 560, PAPER_WIDTH = 680;
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const drawings = JSON.parse(document.getElementById("charts").textContent);
  const plots = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // The texts of quantities.py, for what a pointer is on.
  function span(seconds) {
    if (seconds < 60) return `${+seconds.toFixed(2)} s`;
    const small = seconds < 3600;
    const whole = Math.round(small ? seconds : seconds / 60);
    const rest = whole % 60;
    return `${Math.floor(whole / 60)} ${small ? "min" : "h"}${rest ? ` ${rest} ${small ? "s" : "min"}` : ""}`;
  }

  function latency(microseconds) {
    for (const [scale, unit] of [[1, "µs"], [1e3, "ms"], [1e6, "s"]]) {
      const value = microseconds / scale;
      const text = value.toFixed(scale === 1 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
      if (+text < 1000 || unit === "s") return `${text} ${unit}`;
    }
  }

  function rarity(oneIn) {
    if (oneIn <= 1) return "0 %";
    const decimals = Math.max(0, Math.ceil(Math.log10(oneIn) - 1e-9));
    return `${+(100 - 100 / oneIn).toFixed(decimals)} %`;
  }

  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) < 1000 ? 3 : 6 });
  const told = (drawing, value) => (value == null ? "-" : drawing.unit === "latency" ? latency(value) : number(value));

  // Runs that are compared have times of their own: a place that only another run has is undefined and passed over,
  // null is where nothing was measured, and the line breaks there.
  function columns(drawing) {
    if (drawing.heat) return [drawing.x[0], drawing.x[0].map(() => null)];
    if (drawing.x.length === 1) return [drawing.x[0], ...drawing.series.map((one) => one.y)];
    return uPlot.join(drawing.series.map((one) => [drawing.x[one.on], one.y]), drawing.series.map(() => [1, 1]));
  }

  // Each of a stack's series is drawn from the ground up to its own top, the highest first.
  function stack(drawing, data) {
    const sums = data[0].map(() => 0);
    const stacked = data.slice(1, 1 + drawing.stacked).map((values) => values.map((value, at) => (sums[at] += value || 0)));
    return [data[0], ...stacked.reverse(), ...data.slice(1 + drawing.stacked)];
  }

  function series(drawing) {
    const lines = drawing.series.map((one, at) => {
      const bar = at < drawing.stacked;
      return {
        label: one.label,
        stroke: colour(one.colour),
        width: bar ? 0 : 2,
        fill: bar ? colour(one.colour) : undefined,
        dash: one.dash.length ? one.dash : undefined,
        paths: bar ? uPlot.paths.bars({ size: [0.86, 48], gap: 0 }) : undefined,
        points: { show: (plot, index) => !bar && isolated(plot.data[index]) , size: 5, fill: colour(one.colour) },
        scale: "y",
      };
    });
    return [{}, ...lines.slice(0, drawing.stacked).reverse(), ...lines.slice(drawing.stacked)];
  }

  // A value between two gaps is no line: such a series shows its points.
  const isolated = (values) =>
    values.some((value, at) => value != null && values[at - 1] === null && (values[at + 1] === null || at === values.length - 1))
    || values.filter((value) => value != null).length === 1;

  function timeTicks(plot, axis, min, max) {
    const room = plot.bbox.width / devicePixelRatio / 64;
    const step = STEPS.find((one) => (max - min) / one <= room) || 86400 * Math.ceil((max - min) / 86400 / room);
    const ticks = [];
    for (let at = Math.ceil(min / step); at * step <= max + 1e-9; at++) ticks.push(+(at * step).toFixed(3));
    return ticks;
  }

  function axes(drawing, narrow) {
    const common = {
      stroke: colour("soft"), font: FONT, grid: { stroke: colour("rule"), width: 1 }, ticks: { show: false },
    };
    const fixed = (axis) => ({
      splits: () => axis.ticks.map(([place]) => place),
      values: () => axis.ticks.map(([, label]) => label),
      filter: (plot, splits) => splits,
    });
    // where there is little room, a label that would run into the one before it is left out
    const spaced = (axis) => ({
      ...fixed(axis),
      values: (plot) => {
        let taken = -Infinity;
        return axis.ticks.map(([place, label]) => {
          const at = plot.valToPos(place, "x");
          if (at < taken) return "";
          taken = at + 46;
          return label;
        });
      },
    });
    const across = drawing.xAxis ? spaced(drawing.xAxis) : { splits: timeTicks, values: (plot, ticks) => ticks.map(span) };
    return [
      { ...common, ...across, size: 30, gap: 6, ...(drawing.heat && { grid: { show: false } }) },
      { ...common, ...fixed(drawing.y), scale: "y", size: narrow ? 52 : 62, gap: 6, ...(drawing.heat && { grid: { show: false } }) },
    ];
  }

  function scales(drawing) {
    const fixed = (axis) => ({ range: [axis.min, axis.max], distr: axis.log ? 3 : 1, log: 10, auto: false });
    const time = { time: false, range: (plot, min, max) => (min === plot.data[0][0] && max === plot.data[0].at(-1) ? [0, drawing.end] : [min, max]) };
    return { x: drawing.xAxis ? { time: false, ...fixed(drawing.xAxis) } : time, y: fixed(drawing.y) };
  }

  // Times in which something was broken on purpose: shaded behind the chart, named above it.
  function shadeWindows(plot, windows) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const [start, end] of windows) {
      const left = plot.valToPos(start, "x", true);
      const width = Math.max(plot.valToPos(end, "x", true) - left, 2 * devicePixelRatio);
      ctx.fillStyle = colour("window");
      ctx.fillRect(left, bbox.top, width, bbox.height);
      ctx.fillStyle = colour("bad");
      ctx.fillRect(left, bbox.top, width, 2 * devicePixelRatio);
    }
    ctx.restore();
  }

  function nameWindows(plot, windows) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio, rows = [];
    ctx.save();
    ctx.font = FONT.replace("12px", `${11 * ratio}px`);
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    for (const [start, end, what] of windows) {
      const from = plot.valToPos(start, "x", true), to = plot.valToPos(end, "x", true);
      if (to < bbox.left || from > bbox.left + bbox.width) continue;
      let text = what;
      const room = bbox.width - 8 * ratio;
      while (text.length > 2 && ctx.measureText(text).width > room) text = `${text.slice(0, -2).trimEnd()}…`;
      const width = ctx.measureText(text).width + 8 * ratio;
      const left = Math.max(bbox.left, Math.min(from, bbox.left + bbox.width - width));
      const row = rows.findIndex((taken) => taken <= left);
      const at = row < 0 ? rows.length : row;
      if (at > 3) continue;
      rows[at] = left + width;
      const top = bbox.top + (5 + at * 17) * ratio;
      ctx.fillStyle = colour("card");
      ctx.globalAlpha = 0.85;
      ctx.fillRect(left, top - 2 * ratio, width, 16 * ratio);
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour("bad");
      ctx.fillText(text, left + 4 * ratio, top);
    }
    ctx.restore();
  }

  function channels(name) {
    const hex = colour(name);
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  function heatColours() {
    const stops = [0, 1, 2, 3, 4].map((at) => channels(`heat-${at}`));
    return (part) => {
      const at = Math.min(3, Math.floor(part * 4));
      const mixed = stops[at].map((from, channel) => Math.round(from + (stops[at + 1][channel] - from) * (part * 4 - at)));
      return `rgb(${mixed.join(",")})`;
    };
  }

  function drawHeat(plot, drawing) {
    const { ctx, bbox } = plot, { rows, columns: cells, most } = drawing.heat;
    const colourOf = heatColours();
    const places = rows.map((row) => Math.round(plot.valToPos(row, "y", true)));
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    cells.forEach((column, at) => {
      const middle = drawing.x[0][at];
      const left = Math.round(plot.valToPos(middle - drawing.length / 2, "x", true));
      const right = Math.round(plot.valToPos(middle + drawing.length / 2, "x", true));
      for (const [row, payments] of column) {
        ctx.fillStyle = colourOf(most > 1 ? Math.log(payments) / Math.log(most) : 1);
        ctx.fillRect(left, places[row + 1], Math.max(1, right - left), Math.max(1, places[row] - places[row + 1]));
      }
    });
    ctx.restore();
  }

  // What the pointer is on: built of text nodes, never of markup.
  function tip(drawing) {
    const box = document.createElement("div");
    box.className = "tip";
    box.hidden = true;

    function line(name, value, key) {
      const row = box.appendChild(document.createElement("div"));
      if (key) {
        const mark = row.appendChild(document.createElement("i"));
        mark.style.background = colour(key);
      }
      row.append(name);
      row.appendChild(document.createElement("b")).textContent = value;
    }

    function fill(plot) {
      const at = plot.cursor.idx, place = plot.data[0][at];
      box.textContent = "";
      const when = drawing.length ? `${span(Math.max(0, place - drawing.length / 2))} to ${span(place + drawing.length / 2)}` : rarity(place);
      line(when, "");
      for (const [start, end, what] of drawing.windows)
        if (start < place + drawing.length / 2 && end > place - drawing.length / 2) line(what, "", "bad");
      if (drawing.heat) {
        const value = plot.posToVal(plot.cursor.top, "y");
        const { rows, columns: cells } = drawing.heat;
        const row = rows.findIndex((bound, index) => bound <= value && value < rows[index + 1]);
        if (row < 0) return;
        const payments = cells[at].filter(([one]) => one === row).reduce((sum, [, count]) => sum + count, 0);
        line(`${latency(rows[row])} to ${latency(rows[row + 1])}`, `${number(payments)} payments`);
        return;
      }
      const shown = columns(drawing);
      drawing.series.forEach((one, index) => {
        const values = shown[index + 1];
        let near = at; // of a run whose times differ: its value before this place
        while (near > 0 && values[near] === undefined) near--;
        if (plot.series[index + 1].show !== false) line(one.label, told(drawing, values[near]), one.colour);
      });
    }

    return {
      hooks: {
        init: (plot) => plot.over.appendChild(box),
        setCursor: (plot) => {
          const { idx, left, top, event } = plot.cursor;
          // a pointer on another chart moves this one's cursor too, without an event of its own
          box.hidden = idx == null || left < 0 || !event || !plot.over.matches(":hover");
          if (box.hidden) return;
          fill(plot);
          const width = plot.over.clientWidth;
          const beside = left + 14 + box.offsetWidth <= width ? left + 14 : left - 14 - box.offsetWidth;
          box.style.left = `${Math.max(0, Math.min(beside, width - box.offsetWidth))}px`;
          box.style.top = `${Math.max(0, Math.min(top - 12, plot.over.clientHeight - box.offsetHeight))}px`;
        },
      },
    };
  }

  function draw(drawing, width) {
    const place = document.getElementById(`chart-${drawing.key}`);
    const hidden = new Set();
    plots.get(drawing.key)?.series.forEach((one, index) => one.show === false && hidden.add(index));
    plots.get(drawing.key)?.destroy();
    const data = columns(drawing);
    const narrow = width < NARROW;
    const plot = new uPlot(
      {
        width,
        height: (drawing.heat ? HEAT_HEIGHT : HEIGHT) - (narrow ? 30 : 0),
        padding: [12, narrow ? 20 : 24, 0, 0],
        legend: { show: false },
        cursor: {
          y: Boolean(drawing.heat),
          points: { show: !drawing.heat && !drawing.stacked, size: 6 },
          drag: { x: !drawing.xAxis, y: false },
          sync: drawing.xAxis ? undefined : { key: "time" },
        },
        series: series(drawing),
        axes: axes(drawing, narrow),
        scales: scales(drawing),
        plugins: [tip(drawing)],
        hooks: {
          drawClear: [(made) => shadeWindows(made, drawing.windows)],
          draw: [
            (made) => drawing.heat && drawHeat(made, drawing),
            (made) => nameWindows(made, drawing.windows),
          ],
        },
      },
      drawing.stacked ? stack(drawing, data) : data,
      place,
    );
    hidden.forEach((index) => plot.setSeries(index, { show: false }));
    plots.set(drawing.key, plot);
  }

  const drawAll = (width) => {
    for (const drawing of drawings) draw(drawing, width || document.getElementById(`chart-${drawing.key}`).clientWidth);
  };

  drawAll();
  document.documentElement.classList.add("drawn");

  for (const button of document.querySelectorAll("button[data-series]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      plots.get(button.dataset.chart).setSeries(Number(button.dataset.series) + 1, { show: shown });
    });
  }

  let seen = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === seen) return; // a phone's bars come and go
    seen = document.documentElement.clientWidth;
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  addEventListener("beforeprint", () => drawAll(PAPER_WIDTH));
  addEventListener("afterprint", () => drawAll());
})();
