'use strict';
/* Renews the page of a running load: asks each second whether there is more, and puts it in its place. */
(() => {
  const EVERY = 1000;
  const PATIENCE = 5;
  const note = document.getElementById('live');
  const shape = (page) => JSON.parse(page.getElementById('shape').textContent).live;
  let edition = shape(document).edition;
  let missed = 0;

  const charted = 'figure[data-chart]';
  const key = (figure) => ['chart', 'of', 'hop', 'what'].map((name) => figure.dataset[name]).join(' ');

  /* Makes an element equal to a fresh one. What stays is not replaced, so that focus, an open table and
     the place that is read stay too; charts are drawn anew from the record. */
  function renew(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.matches('.plot, figure details')) return;
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const [from, to] = [[...old.childNodes], [...fresh.childNodes]];
    const isOne = (node, i) => node.nodeType === to[i].nodeType && node.nodeName === to[i].nodeName
      && (node.nodeName !== 'FIGURE' || key(node) === key(to[i]));
    if (from.length === to.length && from.every(isOne)) {
      from.forEach((node, i) => renew(node, to[i]));
      return;
    }
    const kept = new Map([...old.querySelectorAll(charted)].map((figure) => [key(figure), figure]));
    old.replaceChildren(...to);
    old.querySelectorAll(charted).forEach((figure) => {
      const same = kept.get(key(figure));
      if (!same) return;
      figure.replaceWith(same);
      renew(same, figure);
    });
  }

  async function take() {
    const answer = await fetch('now', { cache: 'no-store' });
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    renew(document.querySelector('main'), fresh.querySelector('main'));
    document.querySelectorAll('script[type="application/json"]').forEach((one) => one.remove());
    document.body.append(...fresh.querySelectorAll('script[type="application/json"]'));
    edition = shape(document).edition;
    dispatchEvent(new Event('renewed'));
  }

  async function poll() {
    try {
      const state = await (await fetch('state', { cache: 'no-store' })).json();
      if (state.edition !== edition) await take();
      missed = 0;
      if (shape(document).over) {
        note.textContent = 'The load has ended. The page is complete, and stays as it is.';
        return;
      }
    } catch {
      missed += 1;
      if (missed >= PATIENCE) {
        note.textContent = 'The load no longer answers. The page has its last numbers.';
        return;
      }
    }
    setTimeout(poll, EVERY);
  }
  setTimeout(poll, EVERY);
})();
