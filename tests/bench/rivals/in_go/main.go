// The job in Go, as an engineer would write it in a day: amqp091-go, net/http and struct tags.
//
// Each delivery is validated, posted, and acknowledged once its event is confirmed. A call that OMNI did not take is made
// again after a delay; each delay has a queue, since messages expire at the head of a queue alone. A call whose answer was
// lost is made again too, so OMNI may take it twice.
//
//	worker work [THREADS]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-playground/validator/v10"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	prefetch  = 100
	results   = "omni.results"
	attempted = "x-attempts"
	consumer  = "rival"
)

var (
	broker = os.Getenv("RIVAL_BROKER")
	omni   = os.Getenv("RIVAL_OMNI") + "/omni/1/advanced"
	queue  = os.Getenv("RIVAL_QUEUE")
	// Before the second attempt, the third and so on.
	delays = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}
)

type sms struct {
	Text string `json:"text" validate:"required,max=1600"`
}

type request struct {
	RequestID   string `json:"requestId" validate:"required,max=100"`
	MessageID   string `json:"messageId" validate:"required,max=100"`
	PhoneNumber string `json:"phoneNumber" validate:"required,numeric,min=6,max=15"`
	SMS         sms    `json:"sms" validate:"required"`
}

type to struct {
	PhoneNumber string `json:"phoneNumber"`
}

type destination struct {
	MessageID string `json:"messageId"`
	To        to     `json:"to"`
}

type payload struct {
	Destinations []destination `json:"destinations"`
	SMS          sms           `json:"sms"`
}

type status struct {
	GroupID     int    `json:"groupId,omitempty"`
	GroupName   string `json:"groupName,omitempty"`
	ID          int    `json:"id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

type answer struct {
	Messages []struct {
		Status status `json:"status"`
	} `json:"messages"`
}

type data struct {
	RequestID string `json:"requestId,omitempty"`
	MessageID string `json:"messageId,omitempty"`
	Status    status `json:"status"`
}

type event struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Data        data   `json:"data"`
}

// A temporary error may not be one at the next attempt.
type temporary struct{ error }

type worker struct {
	client   *http.Client
	validate *validator.Validate
	outlet   *amqp.Channel
}

func main() {
	if len(os.Args) > 2 {
		threads, err := strconv.Atoi(os.Args[2])
		if err != nil {
			slog.Error("THREADS is not a number")
			os.Exit(2)
		}
		runtime.GOMAXPROCS(threads)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = prefetch, prefetch, prefetch
	w := &worker{
		client:   &http.Client{Transport: transport, Timeout: 30 * time.Second},
		validate: validator.New(validator.WithRequiredStructEnabled()),
	}
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
		began := time.Now()
		if err := w.serve(ctx); err != nil {
			slog.Error("session ended", "error", err)
			if time.Since(began) > time.Minute {
				pause = time.Second
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// Serve until told to stop, or until a connection is lost.
func (w *worker) serve(ctx context.Context) error {
	// Two connections: a broker that blocks those that publish does not hold up acknowledgements.
	publishing, err := amqp.Dial(broker)
	if err != nil {
		return err
	}
	defer publishing.Close()
	consuming, err := amqp.Dial(broker)
	if err != nil {
		return err
	}
	defer consuming.Close()
	if w.outlet, err = publishing.Channel(); err != nil {
		return err
	}
	if err := w.outlet.Confirm(false); err != nil {
		return err
	}
	if err := declareDelays(w.outlet); err != nil {
		return err
	}
	inlet, err := consuming.Channel()
	if err != nil {
		return err
	}
	if err := inlet.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := inlet.Consume(queue, consumer, false, false, false, false, nil)
	if err != nil {
		return err
	}
	lost := w.outlet.NotifyClose(make(chan *amqp.Error, 1))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.serveAll(deliveries)
	}()
	select {
	case <-ctx.Done():
		if err := inlet.Cancel(consumer, false); err != nil {
			return err
		}
		<-ended // what is in flight
		return nil
	case err := <-lost:
		consuming.Close()
		<-ended // they share the channel that is made next
		return fmt.Errorf("publishing: %w", err)
	case <-ended:
		return errors.New("consuming: the channel was closed")
	}
}

func (w *worker) serveAll(deliveries <-chan amqp.Delivery) {
	var working sync.WaitGroup
	for range prefetch {
		working.Go(func() {
			for delivery := range deliveries {
				if err := w.handle(delivery); err != nil {
					slog.Error("not settled", "error", err)
					_ = delivery.Nack(false, true) // fails with its channel, and then the broker redelivers
				}
			}
		})
	}
	working.Wait()
}

// Handle one delivery. On an error it is settled in no way.
func (w *worker) handle(delivery amqp.Delivery) error {
	var asked request
	err := json.Unmarshal(delivery.Body, &asked)
	if err == nil {
		err = w.validate.Struct(&asked)
	}
	var result status
	if err == nil {
		result, err = w.post(&asked)
	}
	if errors.As(err, &temporary{}) {
		made, _ := delivery.Headers[attempted].(int32)
		if int(made) < len(delays) {
			if err := w.again(delivery, made); err != nil {
				return err
			}
			return delivery.Ack(false)
		}
	}
	name := "message.accepted"
	if err != nil {
		name, result = "message.failed", status{Name: "FAILED", Description: err.Error()}
	}
	if err := w.report(name, &asked, result); err != nil {
		return err
	}
	return delivery.Ack(false)
}

// Post a request. The error is temporary if OMNI may take the same call later.
func (w *worker) post(asked *request) (status, error) {
	body, err := json.Marshal(payload{
		Destinations: []destination{{MessageID: asked.MessageID, To: to{PhoneNumber: asked.PhoneNumber}}},
		SMS:          asked.SMS,
	})
	if err != nil {
		return status{}, err
	}
	call, err := http.NewRequest(http.MethodPost, omni, bytes.NewReader(body))
	if err != nil {
		return status{}, err
	}
	call.Header.Set("Authorization", "App bench")
	call.Header.Set("Content-Type", "application/json")
	response, err := w.client.Do(call)
	if err != nil {
		return status{}, temporary{err}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body) // to its end, so that the connection is used again
	if err != nil {
		return status{}, temporary{err}
	}
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		return status{}, temporary{errors.New(response.Status)}
	}
	if response.StatusCode >= 300 {
		return status{}, errors.New(response.Status)
	}
	var got answer
	if err := json.Unmarshal(content, &got); err != nil {
		return status{}, temporary{err}
	}
	if len(got.Messages) != 1 {
		return status{}, errors.New("not one message in the answer")
	}
	return got.Messages[0].Status, nil
}

// Publish the final event of a message, and wait for the confirm.
func (w *worker) report(name string, asked *request, result status) error {
	body, err := json.Marshal(event{
		SpecVersion: "1.0",
		ID:          asked.MessageID,
		Source:      "/rival",
		Type:        "omni." + name,
		Subject:     asked.MessageID,
		Data:        data{RequestID: asked.RequestID, MessageID: asked.MessageID, Status: result},
	})
	if err != nil {
		return err
	}
	return w.publish(results, name, amqp.Publishing{ContentType: "application/cloudevents+json", Body: body})
}

// Publish a request again into the queue of the delay that follows so many attempts.
func (w *worker) again(delivery amqp.Delivery, made int32) error {
	return w.publish("", delayQueue(delays[made]), amqp.Publishing{
		ContentType: delivery.ContentType,
		Headers:     amqp.Table{attempted: made + 1},
		Body:        delivery.Body,
	})
}

func (w *worker) publish(exchange, key string, message amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	message.DeliveryMode = amqp.Persistent
	confirm, err := w.outlet.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, message)
	if err != nil {
		return err
	}
	isConfirmed, err := confirm.WaitContext(ctx)
	if err == nil && !isConfirmed {
		err = errors.New("the broker refused a publication")
	}
	return err
}

func delayQueue(delay time.Duration) string {
	return fmt.Sprintf("%s.retry.%d", queue, delay.Milliseconds())
}

func declareDelays(channel *amqp.Channel) error {
	for _, delay := range delays {
		arguments := amqp.Table{
			"x-queue-type":              "quorum",
			"x-message-ttl":             delay.Milliseconds(),
			"x-dead-letter-exchange":    "",
			"x-dead-letter-routing-key": queue,
		}
		if _, err := channel.QueueDeclare(delayQueue(delay), true, false, false, false, arguments); err != nil {
			return err
		}
	}
	return nil
}
