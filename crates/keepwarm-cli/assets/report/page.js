'use strict';
/* Charts of a report: a fold over the records in the page. Text and tables are in the page already. */
(() => {
  const island = (id) => JSON.parse(document.getElementById(id).textContent);
  let records;
  let shape;
  const read = () => {
    records = [...document.querySelectorAll('script[id^="record-"]')].map((one) => island(one.id));
    shape = island('shape');
  };
  const MAX_COLUMNS = 360;
  const MAX_ROWS = 120;
  const FEW_FOR_P999 = 10000;

  const group = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  const count = (v) => (v == null ? '-' : group(Math.round(v * 100) / 100));
  const ms = (us) => {
    if (us == null) return '-';
    const value = us / 1000;
    return (value >= 100 ? group(Math.round(value)) : value.toFixed(value >= 1 ? 2 : 3)) + ' ms';
  };
  const share = (v) => (v == null ? '-' : (v * 100).toFixed(1) + ' %');
  const seconds = (v) => (v == null ? '-' : +v.toFixed(3) + ' s');
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const DASHES = [[], [6, 3], [2, 3], [10, 3, 2, 3], [1, 4], [12, 4]];
  const INKS = ['a', 'b', 'c', 'd', 'e', 'f'];

  /* The load's record behind a document: a lab has one for each run. */
  const load = (at) => (shape.kind === 'lab' ? records[0].runs[at].load.record : records[at]);
  const name = (at) => shape.names[at];

  function quantile(of, q) {
    if (!of || !of.count) return null;
    const rank = Math.max(1, Math.ceil(of.count * q));
    let seen = 0;
    for (const [value, n] of of.buckets) {
      seen += n;
      if (seen >= rank) return Math.min(Math.max(value, of.min ?? 0), of.max ?? value);
    }
    return of.max;
  }

  /* Joins buckets of several slices. */
  function joined(sketches) {
    const sums = new Map();
    let max = null;
    let n = 0;
    for (const one of sketches) {
      if (!one) continue;
      if (one.max != null) max = Math.max(max ?? 0, one.max);
      for (const [value, c] of one.buckets) {
        sums.set(value, (sums.get(value) || 0) + c);
        n += c;
      }
    }
    return { count: n, min: 0, max, buckets: [...sums].sort((a, b) => a[0] - b[0]) };
  }

  /* Slices in at most `most` groups of equal length, so that a long run is read and drawn soon. */
  function groups(timeline, most) {
    const size = Math.max(1, Math.ceil(timeline.slices.length / most));
    const out = [];
    for (let i = 0; i < timeline.slices.length; i += size) {
      out.push({ at: i * timeline.width_s, slices: timeline.slices.slice(i, i + size) });
    }
    return { size: size * timeline.width_s, out };
  }
  const total = (slices, of) => slices.reduce((sum, slice) => sum + (of(slice) || 0), 0);

  function base(options) {
    const size = options.low ? 170 : 260;
    const axis = { stroke: () => ink('quiet'), grid: { stroke: () => ink('line'), width: 1 }, ticks: { stroke: () => ink('line'), width: 1 } };
    return {
      width: 600,
      height: size,
      legend: { live: true },
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      scales: {
        x: { time: false, distr: options.xLog ? 3 : 1 },
        y: { distr: options.yLog ? 3 : 1, range: options.yRange },
      },
      axes: [
        { ...axis, label: options.xLabel, labelSize: 22, values: options.xTicks ? (u, s) => s.map(options.xTicks) : undefined, size: 40 },
        { ...axis, size: 78, values: (u, s) => s.map((v) => (v == null ? '' : options.format(v))) },
      ],
    };
  }

  /* Draws lines over one x, and answers with the rows of their table. */
  function lines(figure, options) {
    const spec = base(options);
    spec.series = [{ label: options.xName, value: (u, v) => (v == null ? '-' : (options.xFormat || seconds)(v)) }];
    options.lines.forEach((line, i) => {
      spec.series.push({
        label: line.label,
        stroke: () => ink(line.ink || INKS[i % 6]),
        width: 2,
        dash: DASHES[i % 6],
        points: { show: options.x.length < 3 },
        spanGaps: false,
        paths: options.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        value: (u, v) => (v == null ? '-' : options.format(v)),
      });
    });
    figure.behind = options.draw;
    spec.hooks = { drawAxes: [(u) => figure.behind && figure.behind(u)] };
    const data = [options.x, ...options.lines.map((line) => line.values)];
    const names = [options.xLabel, ...options.lines.map((line) => line.label)].join();
    if (figure.plot && figure.names === names) {
      figure.plot.setData(data);
    } else {
      if (figure.plot) figure.plot.destroy();
      mount(figure, spec, data);
    }
    figure.names = names;
    table(figure, options);
  }

  function mount(figure, spec, data) {
    const box = figure.querySelector('.plot');
    const width = () => Math.max(240, box.clientWidth);
    spec.width = width();
    const isNew = !figure.plot;
    figure.plot = new uPlot(spec, data, box);
    if (!isNew) return;
    new ResizeObserver(() => {
      if (width() !== figure.plot.width) figure.plot.setSize({ width: width(), height: spec.height });
    }).observe(box);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      const plot = figure.plot;
      plot.redraw(false, true);
      /* The marks of the legend, of which the first is that of x. */
      plot.root.querySelectorAll('.u-marker').forEach((marker, i) => {
        if (i > 0) marker.style.borderColor = plot.series[i].stroke(plot, i);
      });
    });
    box.tabIndex = 0;
    box.setAttribute('role', 'group');
    box.setAttribute('aria-label', figure.querySelector('h3').textContent + '. Arrow keys read the values; the table below has them too.');
    let at = -1;
    box.addEventListener('keydown', (event) => {
      const plot = figure.plot;
      const last = plot.data[0].length - 1;
      const to = { ArrowRight: Math.min(last, at + 1), ArrowLeft: Math.max(0, at - 1), Home: 0, End: last, Escape: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      at = to;
      const left = at < 0 ? -10 : plot.valToPos(plot.data[0][at], 'x');
      plot.setCursor({ left, top: at < 0 ? -10 : 10 });
    });
  }

  /* The same numbers as a table, made when it is asked for, and anew if it is open when they change. */
  function table(figure, options) {
    const details = figure.querySelector('details');
    const fill = () => {
      if (!details.open || details.querySelector('table')) return;
      const step = Math.max(1, Math.ceil(options.x.length / MAX_ROWS));
      const made = document.createElement('table');
      const caption = made.createCaption();
      caption.textContent = figure.querySelector('h3').textContent + (step > 1 ? `, each ${step}th point` : '');
      const head = made.createTHead().insertRow();
      [options.xName, ...options.lines.map((line) => line.label)].forEach((text) => {
        const cell = document.createElement('th');
        cell.scope = 'col';
        cell.textContent = text;
        head.append(cell);
      });
      const body = made.createTBody();
      for (let i = 0; i < options.x.length; i += step) {
        const row = body.insertRow();
        const first = document.createElement('th');
        first.scope = 'row';
        first.textContent = (options.xFormat || seconds)(options.x[i]);
        row.append(first);
        options.lines.forEach((line) => {
          row.insertCell().textContent = line.values[i] == null ? '-' : options.format(line.values[i]);
        });
      }
      const wide = document.createElement('div');
      wide.className = 'wide';
      wide.tabIndex = 0;
      wide.setAttribute('role', 'region');
      wide.setAttribute('aria-label', caption.textContent);
      wide.append(made);
      details.append(wide);
    };
    details.ontoggle = fill;
    const old = details.querySelector('.wide');
    if (old) old.remove();
    fill();
  }

  /* The range of a logarithmic axis of times. It begins at a whole number of its decade: ticks are counted
     from there, and stand at 1, 10 and 100 ms then. */
  const timeRange = (u, low, high) => {
    const from = Math.max(1, (low || 1) / 1.15);
    const decade = 10 ** Math.floor(Math.log10(from));
    const to = Math.max(high || 10, from * 2);
    return [Math.floor(from / decade) * decade, to * 1.3];
  };

  /* The counts of groups of slices: one array of numbers a group, over the values that any slice has. */
  function spread(out, of) {
    const seen = new Set();
    const each = (slices, visit) => slices.forEach((slice) => {
      const times = of(slice);
      if (times) visit(times);
    });
    out.forEach((one) => each(one.slices, (times) => times.buckets.forEach((bucket) => seen.add(bucket[0]))));
    const values = Float64Array.from(seen).sort();
    const place = new Map();
    values.forEach((value, at) => place.set(value, at));
    const columns = out.map((one) => {
      const counts = new Float64Array(values.length);
      let count = 0;
      let max = null;
      each(one.slices, (times) => {
        if (times.max != null) max = Math.max(max ?? 0, times.max);
        for (const [value, n] of times.buckets) {
          counts[place.get(value)] += n;
          count += n;
        }
      });
      return { at: one.at, counts, count, max };
    });
    const quantileOf = ({ counts, count, max }, q) => {
      let left = Math.max(1, Math.ceil(count * q));
      for (let at = 0; at < counts.length; at += 1) {
        left -= counts[at];
        if (left <= 0) return Math.min(values[at], max ?? values[at]);
      }
      return max;
    };
    return { values, columns, quantileOf };
  }

  /* A picture of one pixel a cell, which a chart stretches over its place: columns by rows, eight rows for
     each doubling. A bucket of a slice is known by its upper end. */
  function picture({ values, columns }) {
    const rowOf = Int32Array.from(values, (value) => Math.floor(Math.log2(Math.max(1, value)) * 8));
    const [low, high] = rowOf.length ? [rowOf[0], rowOf[rowOf.length - 1]] : [0, 0];
    const [width, height] = [Math.max(1, columns.length), high - low + 1];
    const cells = new Float64Array(width * height);
    columns.forEach(({ counts }, i) => counts.forEach((n, at) => { cells[(high - rowOf[at]) * width + i] += n; }));
    const most = Math.log(1 + cells.reduce((most, n) => Math.max(most, n), 0));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [width, height];
    const ctx = canvas.getContext('2d');
    let painted = '';
    const paint = (colour) => {
      ctx.fillStyle = colour;
      if (painted === ctx.fillStyle) return canvas;
      painted = ctx.fillStyle;
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(painted.slice(at, at + 2), 16));
      const image = ctx.createImageData(width, height);
      cells.forEach((n, at) => {
        if (n) image.data.set([red, green, blue, 255 * (0.06 + 0.6 * (Math.log(1 + n) / most))], at * 4);
      });
      ctx.putImageData(image, 0, 0);
      return canvas;
    };
    return { paint, top: 2 ** ((high + 1) / 8), bottom: 2 ** (low / 8) };
  }

  function heat(figure, record) {
    const open = record.settings.open_loop;
    const { size, out } = groups(record.timeline, MAX_COLUMNS);
    const counts = spread(out, (slice) => (open ? slice.response_us : slice.latency_us));
    const { columns, quantileOf } = counts;
    const cells = picture(counts);
    const draw = (u) => {
      const ctx = u.ctx;
      const left = u.valToPos(0, 'x', true);
      const right = u.valToPos(columns.length * size, 'x', true);
      const [top, bottom] = [u.valToPos(cells.top, 'y', true), u.valToPos(cells.bottom, 'y', true)];
      ctx.save();
      ctx.beginPath();
      ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      ctx.clip();
      /* Cells keep their edges, unless there are more of them than pixels. */
      ctx.imageSmoothingEnabled = right - left < columns.length;
      ctx.drawImage(cells.paint(ink('a')), left, top, right - left, bottom - top);
      ctx.restore();
    };
    const point = (q, few) => columns.map((one) => (one.count >= few ? quantileOf(one, q) : null));
    const x = columns.map((one) => one.at + size / 2);
    const list = [
      { label: 'p50', values: point(0.5, 1), ink: 'ink' },
      { label: 'p99', values: point(0.99, 1), ink: 'b' },
      { label: 'p99.9', values: point(0.999, FEW_FOR_P999), ink: 'd' },
    ].filter((line) => line.values.some((value) => value != null));
    lines(figure, { x, lines: list, draw, format: ms, yLog: true, yRange: timeRange, xName: 'middle of', xLabel: 'seconds since the start' });
  }

  function bySecond(figure, record, pairs) {
    const { size, out } = groups(record.timeline, 1200);
    const list = pairs
      .map(([label, of]) => ({ label, values: out.map((one) => total(one.slices, of)) }))
      .filter((line, i) => i === 0 || line.values.some((value) => value > 0));
    const each = size === 1 ? 'each second' : `each ${+size.toFixed(3)} s`;
    lines(figure, { x: out.map((one) => one.at), lines: list, format: count, stepped: true, xName: 'from', xLabel: `seconds since the start, counted in ${each}` });
  }

  const named = (key) => (slice) => slice.counts[key];
  const charts = {
    heat: (figure) => heat(figure, load(+figure.dataset.of)),
    requests: (figure) => bySecond(figure, load(+figure.dataset.of), [
      ['completed', named('completed')], ['on a reused connection', named('reused')],
      ['failed', named('failed')], ['never sent', named('unsent')],
    ]),
    connections: (figure) => bySecond(figure, load(+figure.dataset.of), [
      ['opened', named('opened')], ['closed by the load', named('closed_by_us')],
      ["closed by the peer's FIN", named('peer_fin')], ["closed by the peer's RST", named('peer_rst')],
      ['closed after a timeout', named('timed_out')], ['connects that failed', named('connect_failed')],
    ]),
    errors: (figure) => {
      const record = load(+figure.dataset.of);
      const classes = new Set(record.timeline.slices.flatMap((slice) => Object.keys(slice.errors || {})));
      const kinds = new Set(record.timeline.slices.flatMap((slice) => Object.keys(slice.statuses || {})));
      const bad = [...kinds].filter((kind) => kind > '3xx');
      bySecond(figure, record, [
        ...[...classes].sort().map((one) => [one, (slice) => (slice.errors || {})[one]]),
        ...bad.sort().map((kind) => ['answered ' + kind, (slice) => slice.statuses[kind]]),
      ]);
    },
    loader: (figure) => {
      const record = load(+figure.dataset.of);
      const { size, out } = groups(record.timeline, 1200);
      const width = record.timeline.width_s;
      const length = (one) => Math.min(one.slices.length * width, Math.max(0.001, record.elapsed_s - one.at));
      const busy = out.map((one) => Math.min(1, total(one.slices, (slice) => slice.busiest_thread_s) / length(one)));
      const all = out.map((one) => Math.min(1, total(one.slices, (slice) => slice.loader_cpu_s) / length(one) / record.settings.threads));
      lines(figure, {
        x: out.map((one) => one.at), low: true, format: share, stepped: true, xName: 'from', xLabel: 'seconds since the start',
        yRange: () => [0, 1], lines: [{ label: 'busiest thread', values: busy }, { label: 'all threads', values: all }],
        size,
      });
    },
    sockets: (figure) => {
      const hop = load(+figure.dataset.of).hops[+figure.dataset.hop];
      const of = (get) => hop.samples.map(get);
      const list = [
        ["TIME_WAIT, client's side", (s) => s.time_wait.client], ["TIME_WAIT, server's side", (s) => s.time_wait.server],
        ["ESTABLISHED, client's side", (s) => s.established.client], ["ESTABLISHED, server's side", (s) => s.established.server],
      ].map(([label, get]) => ({ label, values: of(get) })).filter((line, i) => i === 0 || line.values.some((v) => v > 0));
      /* The shade of the drain lies behind the lines. */
      const draw = hop.drain && ((u) => {
        const from = Math.max(u.bbox.left, u.valToPos(hop.drain.from_s, 'x', true));
        u.ctx.save();
        u.ctx.fillStyle = ink('quiet');
        u.ctx.globalAlpha = 0.12;
        u.ctx.fillRect(from, u.bbox.top, Math.max(0, u.bbox.left + u.bbox.width - from), u.bbox.height);
        u.ctx.restore();
      });
      lines(figure, { x: of((s) => s.at_s), lines: list, draw, format: count, xName: 'at', xLabel: 'seconds since the watch began' });
    },
    curve: (figure) => {
      const series = [];
      for (const at of figure.dataset.of.split(' ').map(Number)) {
        const record = load(at);
        const of = shape.names.length > 1 ? `${name(at)}: ` : '';
        series.push([of + 'service time', record.latency_us]);
        if (record.settings.open_loop) series.push([of + 'response time', record.response_us]);
      }
      const most = Math.max(10, ...series.map(([, times]) => times.count));
      const x = [];
      for (let step = 0; 10 ** (step / 20) <= most; step += 1) x.push(10 ** (step / 20));
      /* Beyond the last sample but one there is no percentile to read. */
      const list = series.map(([label, times]) => ({ label, values: x.map((v) => (v <= times.count ? quantile(times, 1 - 1 / v) : null)) }));
      const percent = (v) => (v <= 1 ? '0 %' : `${+(100 - 100 / v).toFixed(Math.max(0, Math.ceil(Math.log10(v)) - 1))} %`);
      lines(figure, {
        x, lines: list, format: ms, xLog: true, yLog: true, yRange: timeRange, xName: 'percentile', xFormat: percent,
        xTicks: (v) => (v != null && Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? percent(v) : ''), xLabel: 'share of the requests that were at least as fast',
      });
    },
    both: (figure) => {
      const of = { rate: named('completed'), opened: named('opened'), p99: null }[figure.dataset.what];
      const courses = figure.dataset.of.split(' ').map((at) => ({ at: +at, ...groups(load(+at).timeline, 1200) }));
      const step = Math.max(...courses.map((one) => one.size));
      const length = Math.max(...courses.map((one) => Math.ceil((one.out.length * one.size) / step)));
      const x = Array.from({ length }, (_, i) => i * step);
      const list = courses.map(({ at, out }) => {
        const parts = x.map((from) => out.filter((one) => one.at >= from - 1e-9 && one.at < from + step - 1e-9).flatMap((one) => one.slices));
        const open = load(at).settings.open_loop;
        const values = parts.map((slices) => {
          if (!slices.length) return null;
          return of ? total(slices, of) : quantile(joined(slices.map((slice) => (open ? slice.response_us : slice.latency_us))), 0.99);
        });
        return { label: name(at), values };
      });
      lines(figure, { x, lines: list, format: of ? count : ms, yLog: !of, yRange: of ? undefined : timeRange, stepped: true, xName: 'from', xLabel: 'seconds since each start' });
    },
    age: (figure) => {
      const ages = records[0].destinations[+figure.dataset.of].closed_first_by_second;
      /* The last second first, so time runs to the right. */
      const x = ages.map((_, i) => -(ages.length - i));
      lines(figure, { x, low: true, format: count, stepped: true, xName: 'from', xLabel: 'seconds before the end', lines: [{ label: 'closed by this side first', values: [...ages].reverse() }] });
    },
    course: (figure) => {
      const course = island('course');
      const what = figure.dataset.what;
      const list = course.names.map((label, i) => ({ label, values: course[what].map((row) => row[i]) }));
      lines(figure, { x: course.at_s, lines: list, format: count, xName: 'at', xLabel: 'seconds of the watch' });
    },
  };

  /* The text is shown before the record is read. What is seen first is drawn first; the rest follows
     while the page is read. */
  const figures = () => [...document.querySelectorAll('figure[data-chart]')];
  let edition = 1;
  const draw = (figure) => {
    if (figure.drawn === edition) return;
    if (!records) read();
    figure.drawn = edition;
    charts[figure.dataset.chart](figure);
  };
  const rest = () => {
    const next = figures().find((figure) => figure.drawn !== edition);
    if (!next) {
      document.documentElement.dataset.drawn = 'all';
      return;
    }
    draw(next);
    setTimeout(rest, 0);
  };
  requestAnimationFrame(() => setTimeout(rest, 0));
  addEventListener('beforeprint', () => figures().forEach(draw));
  /* The page of a running load has new numbers. */
  addEventListener('renewed', () => {
    read();
    edition += 1;
    document.documentElement.dataset.drawn = 'some';
    rest();
  });

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-save]');
    if (!button) return;
    const text = document.getElementById('record-' + button.dataset.save).textContent.trim() + '\n';
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
})();
