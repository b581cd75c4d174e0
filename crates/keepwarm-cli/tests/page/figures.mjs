// Every figure says where it comes from. It is computed here again, from the record in the page.
export function figures() {
  const group = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  const millis = (us) => (us / 1000).toFixed(2);
  const near = (text, value, digits, unit) => {
    const shown = Number(text.replace(unit, '').replaceAll(',', ''));
    return Math.abs(shown - value) <= 0.5000001 * 10 ** -digits;
  };
  const wrong = [];
  const all = [...document.querySelectorAll('[data-key]')];
  const records = {};
  for (const one of all) {
    const at = one.dataset.document;
    records[at] ??= JSON.parse(document.getElementById('record-' + at).textContent);
    const record = records[at];
    const value = one.dataset.key.split('/').slice(1)
      .reduce((at, key) => at?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], record);
    const text = one.textContent;
    const same = value == null ? text === '-' : {
      count: () => text === group(value),
      us: () => near(text, value / 1000, 2, ' ms'),
      decimal: () => near(text, value, 1, ''),
      rate: () => near(text, value, 0, '/s'),
      s: () => near(text, value, 2, ' s'),
      share: () => near(text, value * 100, 1, ' %'),
      interval: () => text === `${millis(value[0])} to ${millis(value[1])} ms`,
    }[one.dataset.unit]();
    if (!same) wrong.push(`${one.dataset.key}: ${text} is not ${value}`);
  }
  return { figures: all.length, wrong };
}
