/**
 * The most memory that this process has had resident, in bytes: on Linux the kernel's VmHWM, elsewhere
 * what is resident now.
 */
export function peakHostBytes(): number {
  try {
    const status = Deno.readTextFileSync("/proc/self/status");
    return 1024 * Number(/^VmHWM:\s*(\d+) kB/m.exec(status)![1]);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return Deno.memoryUsage().rss;
  }
}
