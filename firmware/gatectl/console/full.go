package console

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"clinicgate/firmware/gatectl/screen"
	"clinicgate/firmware/status"
)

// How often what is done.
const (
	lookEvery = 2 * time.Second
	// A terminal that was plugged in just now, or over which the kernel wrote, has
	// the whole screen again after this long.
	redrawEvery = 30 * time.Second
	frames      = 10 // a second at most
)

// A Look reads how the box is now.
type Look func() (status.Box, time.Time)

// full shows the screen until ctx ends, in ends, or somebody asks for the plain
// menu: then it returns true. resized tells of new sizes; size is the first.
func full(ctx context.Context, typed *keyboard, out io.Writer, size [2]int, resized <-chan [2]int, look Look, commands []Command) (bool, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := &window{ctx: ctx, look: look, commands: commands, model: screen.New(items(commands))}
	w.model.Resize(size[0], size[1])
	width, height := w.model.Size()
	// Without input of its own the program asks the terminal nothing, and what
	// comes in is read in bounded pieces here.
	p := tea.NewProgram(w, tea.WithContext(ctx), tea.WithInput(nil), tea.WithOutput(&filter{out: out}),
		tea.WithEnvironment([]string{"TERM=vt100"}), tea.WithColorProfile(colorprofile.ASCII), tea.WithFPS(frames),
		tea.WithWindowSize(width, height), tea.WithoutSignalHandler())
	w.send = p.Send
	ended := make(chan error, 1)
	go func() { ended <- w.read(typed.until(ctx)); p.Quit() }()
	go w.follow(resized)
	_, err := p.Run()
	if w.plain || ctx.Err() != nil {
		return w.plain, nil
	}
	select {
	case gone := <-ended:
		return false, errors.Join(err, gone)
	default:
		return false, err
	}
}

func items(commands []Command) []screen.Item {
	var all []screen.Item
	for _, c := range commands {
		all = append(all, screen.Item{Word: c.Word, Help: c.Help})
	}
	return all
}

// window carries messages between the terminal, the model and the commands. All of
// its methods but send, read, follow and the commands' run in the program's loop.
type window struct {
	ctx      context.Context
	look     Look
	commands []Command
	model    *screen.Model
	send     func(tea.Msg)
	talk     *talk // of the command that is at work
	plain    bool
}

// Messages.
type (
	seen struct {
		box status.Box
		at  time.Time
	}
	lookDue   struct{}
	redrawDue struct{}
	keys      []byte
	said      struct {
		by   *talk
		text string
	}
	asked struct {
		by       *talk
		question string
		hidden   bool
	}
	over struct {
		by  *talk
		err error
	}
)

// Init looks at once.
func (w *window) Init() tea.Cmd {
	return tea.Batch(w.see, tea.Tick(redrawEvery, func(time.Time) tea.Msg { return redrawDue{} }))
}

func (w *window) see() tea.Msg {
	box, at := w.look()
	return seen{box, at}
}

// Update takes one message.
func (w *window) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case seen:
		w.model.Look(msg.box, msg.at)
		return w, tea.Tick(lookEvery, func(time.Time) tea.Msg { return lookDue{} })
	case lookDue:
		return w, w.see
	case redrawDue:
		return w, tea.Batch(tea.ClearScreen, tea.Tick(redrawEvery, func(time.Time) tea.Msg { return redrawDue{} }))
	case tea.WindowSizeMsg:
		w.model.Resize(msg.Width, msg.Height)
	case keys:
		return w, w.do(w.model.Type(msg))
	case said:
		if msg.by == w.talk {
			w.model.Say(msg.text)
		}
	case asked:
		if msg.by == w.talk {
			w.model.Ask(msg.question, msg.hidden)
		}
	case over:
		w.over(msg)
	}
	return w, nil
}

func (w *window) over(msg over) {
	if msg.by != w.talk {
		return
	}
	text := ""
	if msg.err != nil {
		text = msg.err.Error()
	}
	w.model.Over(text)
	w.talk = nil
}

// do acts.
func (w *window) do(acts []screen.Act) tea.Cmd {
	var all []tea.Cmd
	for _, a := range acts {
		switch a.Kind {
		case screen.Run:
			all = append(all, w.begin(a))
		case screen.Answer:
			if w.talk != nil {
				select {
				case w.talk.answers <- a.Arg:
				default:
				}
			}
		case screen.Leave:
			if w.talk != nil {
				w.talk.leave()
				w.talk = nil
			}
		case screen.Redraw:
			all = append(all, tea.ClearScreen)
		case screen.Plain:
			w.plain = true
			all = append(all, tea.Quit)
		}
	}
	return tea.Batch(all...)
}

// begin runs a command beside the screen.
func (w *window) begin(a screen.Act) tea.Cmd {
	if w.talk != nil {
		w.talk.leave()
	}
	ctx, leave := context.WithCancel(w.ctx)
	t := &talk{ctx: ctx, leave: leave, send: w.send, answers: make(chan string, 1)}
	w.talk = t
	return func() tea.Msg {
		defer leave()
		return over{t, w.commands[a.Item].obey(ctx, t, a.Arg)}
	}
}

// View draws.
func (w *window) View() tea.View {
	rows, x, y := w.model.Rows()
	v := tea.NewView(strings.Join(rows, "\n"))
	v.AltScreen, v.DisableBracketedPasteMode = true, true // the filter drops the first's sequence: it means absolute moves
	v.Cursor = tea.NewCursor(x, y)
	return v
}

// read passes on what is typed, in pieces. The program takes one at a time, so a
// paste waits in the tty and not here.
func (w *window) read(in io.Reader) error {
	buf := make([]byte, 1024)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			w.send(keys(append([]byte(nil), buf[:n]...)))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *window) follow(resized <-chan [2]int) {
	for {
		select {
		case <-w.ctx.Done():
			return
		case size := <-resized:
			if size[0] == 0 || size[1] == 0 {
				size = [2]int{screen.Width, screen.Height}
			}
			w.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		}
	}
}

// talk is a command's side of its page.
type talk struct {
	ctx     context.Context
	leave   context.CancelFunc
	send    func(tea.Msg)
	answers chan string
}

func (t *talk) Write(p []byte) (int, error) {
	if t.ctx.Err() != nil {
		return 0, ErrLeft
	}
	t.send(said{t, string(p)})
	return len(p), nil
}

func (t *talk) Ask(question string, hidden bool) (string, error) {
	t.send(asked{t, question, hidden})
	select {
	case answer := <-t.answers:
		return answer, nil
	case <-t.ctx.Done():
		return "", ErrLeft
	}
}
