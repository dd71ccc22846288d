// Reads what was chosen or dropped here, in the browser, and hands it on inside a message: no file is made of it.
const input = element.querySelector('input[type=file]');
const zone = element.querySelector('.drop');
const take = (file) => {
  if (!file) return;
  const about = { name: file.name, size: file.size, moving: file.type.startsWith('video/') };
  if (file.size > (about.moving ? props.most_of_video : props.most)) {
    trigger('chosen', { ...about, content: '' });
    return;
  }
  const reader = new FileReader();
  reader.onload = () => trigger('chosen', { ...about, content: reader.result.split(',')[1] || '' });
  reader.readAsDataURL(file);
};
const chosen = () => { take(input.files[0]); input.value = ''; };
input.addEventListener('change', chosen);
zone.addEventListener('dragover', (event) => { event.preventDefault(); zone.classList.add('over'); });
zone.addEventListener('dragleave', () => zone.classList.remove('over'));
zone.addEventListener('drop', (event) => {
  event.preventDefault();
  zone.classList.remove('over');
  take(event.dataTransfer.files[0]);
});
if (input.files.length) chosen();  // by a reader who was quicker than this page
input.dataset.ready = '';
