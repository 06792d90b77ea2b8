// Paper is light, and folded parts are printed too; what scrolls sideways can be reached by keyboard.
window.addEventListener('beforeprint', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  document.documentElement.dataset.onScreen = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = 'light';
});
window.addEventListener('afterprint', () => { document.documentElement.dataset.theme = document.documentElement.dataset.onScreen; });
function reachable() {
  for (const e of document.querySelectorAll('.highlight pre, .cell_output .output, .math, .pst-scrollable-table-container, .table-wrap')) {
    if (e.scrollWidth > e.clientWidth) e.tabIndex = 0;
  }
}
window.addEventListener('load', reachable);
window.addEventListener('resize', reachable);
document.addEventListener('toggle', reachable, true);
// The arrows in the menu have no words of their own, and the sidebar with the name of the site no landmark.
window.addEventListener('DOMContentLoaded', () => {
  document.querySelectorAll('summary').forEach(s => {
    if (!s.textContent.trim()) s.setAttribute('aria-label', 'Pages under ' + (s.closest('li')?.querySelector('a')?.textContent.trim() || 'this'));
  });
  const bar = document.getElementById('pst-primary-sidebar');
  bar?.setAttribute('role', 'region');
  bar?.setAttribute('aria-label', 'This site');
});
// A result that leads to an anchor without words is summed up by its page; Sphinx's search would stop there.
window.addEventListener('DOMContentLoaded', () => {
  if (typeof Search === 'undefined') return;
  const summary = Search.makeSearchSummary;
  Search.makeSearchSummary = (text, words, anchor) => summary(text, words, anchor) ?? summary(text, words) ?? document.createElement('p');
});
