"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // --- plots: named colours become those of the theme ---
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const translucent = (color) => color + "2e";
  const theme = (printing) => {
    const colors = { ink: css("--ink"), soft: css("--soft"), rule: css("--rule"), warn: css("--warn") };
    for (let i = 0; i < 8; i++) {
      colors["policy" + i] = css("--p" + i);
      colors["policy" + i + "-fill"] = translucent(css("--p" + i));
    }
    return colors;
  };
  const painted = (value, colors) => {
    if (Array.isArray(value)) return value.map((each) => painted(each, colors));
    if (value && typeof value === "object") {
      const copy = {};
      for (const [key, each] of Object.entries(value)) {
        const named = /color$/.test(key) && typeof each === "string" && colors[each];
        copy[key] = named ? colors[each] : painted(each, colors);
      }
      return copy;
    }
    return value;
  };
  const merged = (base, over) => {
    const result = { ...base };
    for (const [key, value] of Object.entries(over)) {
      const both = value && base[key] && typeof value === "object" && !Array.isArray(value);
      result[key] = both ? merged(base[key], value) : value;
    }
    return result;
  };
  const layoutOf = (figure, colors) => {
    const axis = {
      gridcolor: colors.rule, zerolinecolor: colors.rule, linecolor: colors.rule,
      automargin: true, title: { standoff: 8 }, fixedrange: true,
    };
    return merged({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, color: colors.soft, size: 13 },
      margin: { l: 50, r: 18, t: 12, b: 44 },
      xaxis: axis, yaxis: axis, hovermode: "closest",
      legend: { orientation: "h", yanchor: "bottom", y: 1.01, xanchor: "left", x: 0 },
      showlegend: figure.data.length > 1,
      hoverlabel: { font: { family: getComputedStyle(document.body).fontFamily } },
    }, painted(figure.layout, colors));
  };
  const draw = () => {
    const colors = theme();
    for (const place of document.querySelectorAll("[data-plot]")) {
      const figure = figures[place.dataset.plot];
      const data = painted(figure.data, colors);
      Plotly.react(place, data, layoutOf(figure, colors), { displayModeBar: false, responsive: true });
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("print").addEventListener("change", draw);

  // --- tables sort ---
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
  };
  const compare = (a, b, sign) => {
    if (typeof a === "string") return sign * a.localeCompare(b, undefined, { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // Numbers are first wanted from the top.
        const first = column === 0 ? "ascending" : "descending";
        const second = column === 0 ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? second : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign)));
      });
    });
  }

  // --- videos lie beside the page: where they were left behind, their last picture stays ---
  for (const video of document.querySelectorAll("video")) {
    video.addEventListener("error", () => {
      video.controls = false;
      video.nextElementSibling.textContent = "The page was sent without this video: " + video.getAttribute("src");
    });
  }

  // --- crashes play ---
  for (const card of document.querySelectorAll(".card")) {
    const map = card.querySelector("svg.map");
    const { dt, bodies } = JSON.parse(map.dataset.moves);
    const slider = card.querySelector("input");
    const button = card.querySelector("button");
    const output = card.querySelector("output");
    const last = Number(slider.max);
    const show = (step) => {
      for (const vehicle of map.querySelectorAll("[data-row]")) {
        const place = bodies[vehicle.dataset.row][Math.round(step)];
        vehicle.setAttribute("visibility", place ? "visible" : "hidden");
        if (place) vehicle.setAttribute("transform", `translate(${place[0]} ${place[1]}) rotate(${place[2]})`);
      }
      const left = (last - step) * dt;
      output.textContent = left < dt / 2 ? "crash" : `−${left.toFixed(1)} s`;
    };
    let playing = 0;
    const stop = () => { cancelAnimationFrame(playing); playing = 0; button.textContent = "▶"; };
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    button.addEventListener("click", () => {
      if (playing) { stop(); return; }
      const from = Number(slider.value) >= last ? 0 : Number(slider.value);
      const began = performance.now();
      button.textContent = "❚❚";
      const tick = (now) => {
        const step = Math.min(from + (now - began) / 1000 / dt, last);
        slider.value = String(step);
        show(step);
        if (step >= last) stop(); else playing = requestAnimationFrame(tick);
      };
      playing = requestAnimationFrame(tick);
    });
  }
})();
