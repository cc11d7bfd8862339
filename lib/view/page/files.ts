/// <reference lib="dom" />

/** All files of what was dropped, folders opened, each named by its path. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  // The list empties with the event: every entry is asked for before the first wait.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const files: File[] = [];
  for (const entry of entries) {
    if (entry) await collect(entry, files);
  }
  return files.length > 0 ? files : [...transfer.files];
}

async function collect(entry: FileSystemEntry, files: File[]): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((done, fail) =>
      (entry as FileSystemFileEntry).file(done, fail)
    );
    files.push(named(file, entry.fullPath.replace(/^\//, "")));
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  while (true) { // Chrome lists a hundred at a time
    const some = await new Promise<FileSystemEntry[]>((done, fail) =>
      reader.readEntries(done, fail)
    );
    if (some.length === 0) return;
    for (const inner of some) await collect(inner, files);
  }
}

/** Files of an input, those of a folder named by their path. */
export function chosenFiles(input: HTMLInputElement): File[] {
  const files = [...input.files ?? []].map((file) => named(file, file.webkitRelativePath));
  input.value = ""; // the same file may be chosen again
  return files;
}

/** A file under another name. */
function named(file: File, name: string): File {
  return name && name !== file.name ? new File([file], name) : file;
}

/** Hands a file to the user. */
export function save({ name, bytes }: { name: string; bytes: Uint8Array<ArrayBuffer> }): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
