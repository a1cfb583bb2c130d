// pm2's names and arguments, with callbacks or promises. Every call takes a callback `(error, result)` as its last argument,
// or gives a promise without one. A failure of a promise that nobody looks at is a warning.

declare const musher: musher.Musher;

declare namespace musher {
  /** An error of a call: `code` for programs, `hint` for what to do about it. */
  interface MusherError extends Error {
    readonly name: 'MusherError';
    readonly code:
      | 'FAILED'
      | 'USAGE'
      | 'BAD_SPEC'
      | 'NO_SUCH_APP'
      | 'UNREACHABLE'
      | 'TIMEOUT'
      | 'ENVIRONMENT'
      | 'NO_EXECUTABLE'
      | 'CONFLICT'
      | 'TOO_LARGE';
    readonly hint?: string;
  }

  type Callback<T> = (error: Error | null, result: T) => void;
  /** A name, an id, a namespace, `/expression/`, `all`; or several of them. */
  type Target = string | number | readonly (string | number)[];
  type Status = 'online' | 'stopping' | 'stopped' | 'launching' | 'errored' | 'waiting restart';

  /** An app, with the keys of pm2's process files in any of their spellings. */
  interface StartOptions {
    script?: string;
    name?: string;
    namespace?: string;
    cwd?: string;
    args?: string | string[];
    interpreter?: string;
    interpreter_args?: string | string[];
    node_args?: string | string[];
    instances?: number | string;
    exec_mode?: 'fork' | 'cluster' | string;
    env?: Record<string, unknown> | string;
    autorestart?: boolean;
    autostart?: boolean;
    wait_ready?: boolean;
    listen_timeout?: number | string;
    kill_timeout?: number | string;
    max_memory_restart?: number | string;
    max_restarts?: number;
    min_uptime?: number | string;
    restart_delay?: number | string;
    exp_backoff_restart_delay?: number | string;
    stop_exit_codes?: number[] | number;
    shutdown_with_message?: boolean;
    out_file?: string;
    error_file?: string;
    time?: boolean;
    log_type?: 'json';
    /** Start a script though it runs already. */
    force?: boolean;
    /** Of a process file: only these apps. */
    only?: string | string[];
    [key: string]: unknown;
  }

  interface RestartOptions extends StartOptions {
    /** With the variables of this process. */
    updateEnv?: boolean;
  }

  interface ProcessFile {
    apps: StartOptions[];
  }

  /** What stands in `pm2_env`: pm2's fields, and the variables of the worker. */
  interface ProcessEnvironment {
    name: string;
    namespace: string;
    pm_id: number;
    status: Status;
    restart_time: number;
    unstable_restarts: number;
    pm_uptime: number;
    created_at: number;
    exec_mode: 'fork_mode' | 'cluster_mode';
    instances: number;
    pm_exec_path: string;
    pm_cwd: string;
    exec_interpreter: string;
    pm_out_log_path: string;
    pm_err_log_path: string;
    args: string[];
    node_args: string[];
    exit_code: number;
    version: string;
    username: string;
    autorestart: boolean;
    env: Record<string, unknown>;
    [key: string]: unknown;
  }

  /** A worker as `pm2 jlist` shows it. */
  interface ProcessDescription {
    name: string;
    pm_id: number;
    /** 0 when it does not run. */
    pid: number;
    monit: { memory: number; cpu: number };
    pm2_env: ProcessEnvironment;
  }

  /** What a worker answered to an action. */
  interface TriggerAnswer {
    at: number;
    process: { name: string; pm_id: number; namespace: string };
    data: { action_name: string; return: any };
  }

  /** A worker to which something was done. */
  interface ProcessSummary {
    name: string;
    namespace: string;
    pm_id: number;
    status: Status;
    restart_time: number;
    pm2_env: {
      name: string;
      namespace: string;
      pm_id: number;
      status: Status;
      restart_time: number;
      env: Record<string, unknown>;
    };
  }

  interface Packet {
    id?: number;
    type?: string;
    topic?: string;
    data?: unknown;
    [key: string]: unknown;
  }

  interface Connected {
    /** The daemon was started by this call. */
    new_pm2_instance: boolean;
    pm2_home: string;
    rpc_socket_file: string;
    pub_socket_file: string;
  }

  interface BusProcess {
    pm_id: number | null;
    name: string;
    rev: null;
    namespace: string | null;
  }

  interface ProcessEvent {
    event: 'online' | 'exit' | 'start' | 'stop' | 'restart' | 'reload' | 'delete' | 'restart overlimit';
    /** Somebody asked for it. */
    manually: boolean;
    process: ProcessEnvironment;
    at: number;
  }

  interface LogEvent {
    process: BusProcess;
    at: number;
    /** One line with its end. */
    data: string;
  }

  /** `data` of a message with `type` and `data`; else `raw`, the whole message. */
  interface MessageEvent {
    process: BusProcess;
    at: number;
    data?: any;
    raw?: any;
  }

  /** This reader was too slow: so many were dropped before. */
  interface Lost {
    stream: 'events' | 'messages';
    count: number | null;
  }

  interface Bus {
    on(event: 'process:event', listener: (data: ProcessEvent) => void): this;
    on(event: 'log:out' | 'log:err', listener: (data: LogEvent) => void): this;
    on(event: 'process:msg', listener: (data: MessageEvent) => void): this;
    on(event: 'pm2:kill', listener: (data: { status: string; msg: string }) => void): this;
    on(event: 'musher:lost', listener: (data: Lost) => void): this;
    /** The connection has ended. */
    on(event: 'close', listener: (error?: Error) => void): this;
    /** Any event, or a type of one's own; with `*` in it, what the stars stand for comes first. */
    on(event: string, listener: (...args: any[]) => void): this;
    addListener(event: string, listener: (...args: any[]) => void): this;
    once(event: string, listener: (...args: any[]) => void): this;
    /** Without a listener nobody hears of the event any more. */
    off(event: string, listener?: (...args: any[]) => void): this;
    removeListener(event: string, listener?: (...args: any[]) => void): this;
    close(): void;
  }

  interface ControlOptions {
    /** Home of the daemon; else `MUSHER_HOME`, `PM2_HOME`/musher, `~/.musher`. */
    musher_home?: string;
    /** The daemon's home is the directory `musher` in this one. */
    pm2_home?: string;
    /** What paths are relative to; else the working directory. */
    cwd?: string;
    /** A new home, and a daemon that ends with this program. */
    independent?: boolean;
    /** `false`: as `connect(true)`. */
    daemon_mode?: boolean;
  }

  interface ServeOptions {
    /** Answer with index.html where there is no file. */
    spa?: boolean;
    /** List folders. */
    ftp?: boolean;
    name?: string;
    host?: string;
    instances?: number | string;
    /** Who may see it (HTTP basic authentication), with the password. */
    basicAuthUsername?: string;
    basicAuthPassword?: string;
    basic_auth_username?: string;
    basic_auth_password?: string;
  }

  /** What programs use of pm2's inside. */
  interface Client {
    daemon_mode: boolean;
    pm2_home: string;
    executeRemote(method: 'getMonitorData', callback: Callback<ProcessDescription[]>): void;
    executeRemote(method: 'getMonitorData', params?: object): Promise<ProcessDescription[]>;
    executeRemote(method: 'getMonitorData', params: object, callback: Callback<ProcessDescription[]>): void;
    executeRemote(method: string, callback: Callback<any>): void;
    executeRemote(method: string, params?: object): Promise<any>;
    executeRemote(method: string, params: object, callback: Callback<any>): void;
  }

  /** The control of one daemon. The module itself is one, of the daemon that the environment names. */
  interface Control {
    /** What paths are relative to. */
    readonly cwd: string;
    /** Where the daemon keeps its files. */
    readonly pm2_home: string;
    /** Whether the daemon goes on without this program. */
    readonly daemon_mode: boolean;
    readonly Client: Client;

    /** Starts the daemon if none runs. `noDaemon`: one that is started by this ends with this program. */
    connect(noDaemon?: boolean): Promise<Connected>;
    connect(callback: Callback<Connected>): void;
    connect(noDaemon: boolean, callback: Callback<Connected>): void;
    /** What was called is answered; then nothing keeps this program alive any more. */
    disconnect(): Promise<void>;
    disconnect(callback: Callback<void>): void;
    close: Control['disconnect'];

    start(what: string | StartOptions | StartOptions[] | ProcessFile, options?: StartOptions): Promise<ProcessDescription[]>;
    start(what: string | StartOptions | StartOptions[] | ProcessFile, callback: Callback<ProcessDescription[]>): void;
    start(
      what: string | StartOptions | StartOptions[] | ProcessFile,
      options: StartOptions,
      callback: Callback<ProcessDescription[]>,
    ): void;
    restart(what: string | number | StartOptions | ProcessFile, options?: RestartOptions): Promise<ProcessSummary[]>;
    restart(what: string | number | StartOptions | ProcessFile, callback: Callback<ProcessSummary[]>): void;
    restart(
      what: string | number | StartOptions | ProcessFile,
      options: RestartOptions,
      callback: Callback<ProcessSummary[]>,
    ): void;
    reload(what: string | number | StartOptions | ProcessFile, options?: RestartOptions): Promise<ProcessSummary[]>;
    reload(what: string | number | StartOptions | ProcessFile, callback: Callback<ProcessSummary[]>): void;
    reload(
      what: string | number | StartOptions | ProcessFile,
      options: RestartOptions,
      callback: Callback<ProcessSummary[]>,
    ): void;
    gracefulReload: Control['reload'];

    stop(target: Target): Promise<ProcessSummary[]>;
    stop(target: Target, callback: Callback<ProcessSummary[]>): void;
    delete(target: Target): Promise<ProcessSummary[]>;
    delete(target: Target, callback: Callback<ProcessSummary[]>): void;

    list(): Promise<ProcessDescription[]>;
    list(callback: Callback<ProcessDescription[]>): void;
    /** By name or id; nothing of that name is an empty array. */
    describe(target: string | number): Promise<ProcessDescription[]>;
    describe(target: string | number, callback: Callback<ProcessDescription[]>): void;
    getPID(target?: string | number): Promise<number[]>;
    getPID(callback: Callback<number[]>): void;
    getPID(target: string | number, callback: Callback<number[]>): void;
    getProcessIdByName(name: string): Promise<number[]>;
    getProcessIdByName(name: string, callback: Callback<number[]>): void;
    getVersion(): Promise<string>;
    getVersion(callback: Callback<string>): void;
    /** The daemon runs afterwards. */
    ping(): Promise<{ msg: 'pong' }>;
    ping(callback: Callback<{ msg: 'pong' }>): void;
    /** Lets the daemon become the executable that is installed now; workers go on. */
    update(): Promise<{ success: true }>;
    update(callback: Callback<{ success: true }>): void;
    /** What a report of a fault wants to tell, as text. */
    report(): Promise<string>;
    report(callback: Callback<string>): void;
    /** Serves the files of a folder (`.`) on a port (8080), as an app. */
    serve(folder?: string, port?: number | string, options?: ServeOptions): Promise<ProcessDescription[]>;
    serve(folder: string, port: number | string, callback: Callback<ProcessDescription[]>): void;
    serve(folder: string, port: number | string, options: ServeOptions, callback: Callback<ProcessDescription[]>): void;
    serve(
      folder: string,
      port: number | string,
      options: ServeOptions,
      commander: unknown,
      callback: Callback<ProcessDescription[]>,
    ): void;
    /** Back after a reboot, by systemd; gives what was said about it. */
    startup(platform?: string, options?: object): Promise<string>;
    startup(callback: Callback<string>): void;
    startup(platform: string, options: object, callback: Callback<string>): void;
    uninstallStartup(platform?: string, options?: object): Promise<string>;
    uninstallStartup(callback: Callback<string>): void;
    uninstallStartup(platform: string, options: object, callback: Callback<string>): void;

    /** `4`, `'+2'`, `'-1'` */
    scale(target: string | number, number: number | string): Promise<{ success: true }>;
    scale(target: string | number, number: number | string, callback: Callback<{ success: true }>): void;
    reset(target: Target): Promise<{ success: true }>;
    reset(target: Target, callback: Callback<{ success: true }>): void;
    flush(target?: Target): Promise<ProcessDescription[]>;
    flush(callback: Callback<ProcessDescription[]>): void;
    flush(target: Target, callback: Callback<ProcessDescription[]>): void;
    reloadLogs(): Promise<object>;
    reloadLogs(callback: Callback<object>): void;

    /** The worker hears it as `process.on('message')`. Done when it is in the worker's channel. */
    sendDataToProcessId(id: number | string, packet: Packet): Promise<{ success: true; data: Packet }>;
    sendDataToProcessId(id: number | string, packet: Packet, callback: Callback<{ success: true; data: Packet }>): void;
    sendDataToProcessId(packet: Packet & { id: number }): Promise<{ success: true; data: Packet }>;
    sendDataToProcessId(packet: Packet & { id: number }, callback: Callback<{ success: true; data: Packet }>): void;
    sendSignalToProcessName(signal: string | number, target: string): Promise<ProcessDescription[]>;
    sendSignalToProcessName(signal: string | number, target: string, callback: Callback<ProcessDescription[]>): void;
    sendSignalToProcessId(signal: string | number, id: number | string): Promise<ProcessDescription[]>;
    sendSignalToProcessId(signal: string | number, id: number | string, callback: Callback<ProcessDescription[]>): void;

    /** The variables of a worker, by id or name. */
    env(target: string | number): Promise<Record<string, unknown>>;
    env(target: string | number, callback: Callback<Record<string, unknown>>): void;
    /** What was set: all, one key, or what belongs to an app (`null`: nothing). */
    get(key?: string): Promise<unknown>;
    get(callback: Callback<unknown>): void;
    get(key: string, callback: Callback<unknown>): void;
    /** `app:key` is a variable of the app, which is restarted with it. */
    set(key: string, value: string | number | boolean): Promise<{ success: true }>;
    set(key: string, value: string | number | boolean, callback: Callback<{ success: true }>): void;
    /** `'key value key value'` */
    multiset(text: string): Promise<{ success: true }>;
    multiset(text: string, callback: Callback<{ success: true }>): void;
    unset(key: string): Promise<{ success: true }>;
    unset(key: string, callback: Callback<{ success: true }>): void;
    /** Nothing to do: the list is always kept on the disk. */
    autodump(): Promise<{ success: true }>;
    autodump(callback: Callback<{ success: true }>): void;

    /** The worker reads it from its standard input. The separator ends it: a newline. */
    sendLineToStdin(id: number | string, line: string, separator?: string): Promise<{ success: true }>;
    sendLineToStdin(id: number | string, line: string, callback: Callback<{ success: true }>): void;
    sendLineToStdin(id: number | string, line: string, separator: string, callback: Callback<{ success: true }>): void;
    /** Lines of this program's standard input go to a worker, and what it writes comes here, until that input or the daemon ends. */
    attach(id: number | string, separator?: string): Promise<void>;
    attach(id: number | string, callback: Callback<void>): void;
    attach(id: number | string, separator: string, callback: Callback<void>): void;

    /** Has workers do what their programs registered by this name (@pm2/io, tx2); gives what they answer, within 30 s. */
    trigger(target: number | string, action: string, param?: unknown): Promise<TriggerAnswer[]>;
    trigger(target: number | string, action: string, callback: Callback<TriggerAnswer[]>): void;
    trigger(target: number | string, action: string, param: unknown, callback: Callback<TriggerAnswer[]>): void;

    launchBus(): Promise<Bus>;
    launchBus(callback: Callback<Bus>): void;
    disconnectBus(): Promise<void>;
    disconnectBus(callback: Callback<void>): void;

    /** Keeps the list of apps, for `resurrect`; one without any only with `force`. */
    dump(force?: boolean): Promise<{ success: true }>;
    dump(callback: Callback<{ success: true }>): void;
    dump(force: boolean, callback: Callback<{ success: true }>): void;
    /** Forgets the list that was kept. */
    clearDump(): Promise<{ success: true }>;
    clearDump(callback: Callback<{ success: true }>): void;
    resurrect(): Promise<ProcessDescription[]>;
    resurrect(callback: Callback<ProcessDescription[]>): void;

    /** Stops all apps and ends the daemon, then disconnects. */
    killDaemon(): Promise<{ success: true }>;
    killDaemon(callback: Callback<{ success: true }>): void;
    kill: Control['killDaemon'];
    /** Ends the daemon of a home of its own (`independent`), and removes that home. */
    destroy(): Promise<void>;
    destroy(callback: Callback<void>): void;
  }

  /** From which worker a message came. */
  interface From {
    slot: number;
    run?: number;
  }

  /** What all workers of an app share: keys and values, small, kept by musher. */
  interface State {
    get(key: string): Promise<any>;
    set(key: string, value: unknown): Promise<void>;
    delete(key: string): Promise<void>;
    /** Puts `change(value)` in the place of a value; called again when another worker was faster. `undefined` deletes. */
    update<T = any>(key: string, change: (value: any) => T | Promise<T>): Promise<T>;
    entries(): Promise<Record<string, any>>;
    /** Called after every change. Gives what ends the watch. */
    watch(listener: (value: any, key: string) => void): Promise<() => void>;
    watch(key: string, listener: (value: any, key: string) => void): Promise<() => void>;
  }

  /** What a worker has of its team; in a program that runs alone it is a team of its own. */
  interface Worker {
    readonly isWorker: boolean;
    readonly app: string | undefined;
    readonly slot: number | undefined;
    readonly state: State;
    /** What the callback promises is waited for before the worker ends, within `stop.drain`. Gives what takes it back. */
    onDrain(callback: () => void | Promise<void>): () => void;
    /** To all workers of the app, this one included. */
    broadcast(message: unknown): Promise<{ workers: number; missed: number }>;
    on(event: 'message', listener: (message: any, from: From) => void): this;
    /** So many messages were missed, because this worker did not read them. */
    on(event: 'missed', listener: (count: number) => void): this;
    once(event: 'message', listener: (message: any, from: From) => void): this;
    once(event: 'missed', listener: (count: number) => void): this;
    off(event: string, listener: (...args: any[]) => void): this;
    addListener: Worker['on'];
    removeListener: Worker['off'];
  }

  interface Musher extends Control, Worker {
    /** The control of another daemon: `new musher.custom({ musher_home })`. */
    custom: new (options?: ControlOptions) => Control;
    MusherError: new (code: MusherError['code'], message: string, hint?: string) => MusherError;
  }
}

export = musher;
