// Runs once for each piece of the page that shows pictures: moves the slider, and changes what is under it.
const show = (event) => {
  const at = event.target;
  if (at.matches('[data-divider]')) {
    element.querySelector('.pair').style.setProperty('--at', at.value + '%');
  } else if (at.matches('select[data-side]')) {
    const shown = element.querySelector(`img[data-shown=${at.dataset.side}]`);
    const chosen = [...element.querySelectorAll('img[data-key]')].find((image) => image.dataset.key === at.value);
    shown.src = chosen.src;
    shown.alt = at.value;
  }
};
element.addEventListener('input', show);
